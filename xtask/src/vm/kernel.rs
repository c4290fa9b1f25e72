//! Kernels of other Debian suites, fetched with apt's own lists and state in a folder of ours: the machine's apt is not changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cache::{Build, Cache, Inputs},
    process::Run,
    versions::Kernel,
};

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// What it is called on the command line.
    pub(crate) name: String,
    /// What `uname -r` says in it.
    pub(crate) release: String,
    /// The kernel itself.
    pub(crate) vmlinuz: PathBuf,
    /// The folder `lib/modules/RELEASE` with its modules, which needs `depmod` before `modprobe` works.
    pub(crate) modules: PathBuf,
}

impl Image {
    /// One of its modules, as `insmod` takes it: newer kernels' are compressed, and unpacked into `folder`.
    pub(crate) fn module(&self, name: &str, folder: &Path) -> Result<PathBuf> {
        let found = find(&self.modules, &[format!("{name}.ko"), format!("{name}.ko.xz")])?;
        let path = found.with_context(|| format!("{} has no module {name}", self.release))?;
        if path.extension().is_some_and(|extension| extension == "ko") {
            return Ok(path);
        }
        let unpacked = folder.join(format!("{name}.ko"));
        Run::new("xz").arg("-dc").arg(path).stdout(fs::File::create(&unpacked)?).run()?;
        Ok(unpacked)
    }
}

/// The file below `folder` that has one of these names.
fn find(folder: &Path, names: &[String]) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Its links lead to where it was built.
        if path.is_dir() && !path.is_symlink() {
            if let Some(found) = find(&path, names)? {
                return Ok(Some(found));
            }
        } else if names.iter().any(|name| path.file_name().is_some_and(|found| found == name.as_str())) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The kernel that `versions.toml` describes, from the cache or from the mirror.
pub(crate) fn image(cache: &Cache, kernel: &Kernel) -> Result<Image> {
    let inputs =
        Inputs::new().text("suite", &kernel.suite).text("package", &kernel.package).text("layout", "vmlinuz, lib");
    let title = format!("kernel {} from Debian {}", kernel.name, kernel.suite);
    let folder = cache.artifact("kernels", &title, inputs, |build| fetch(build, kernel))?;
    let release = fs::read_to_string(folder.join("release")).context("the cached kernel has no name")?;
    Ok(Image {
        name: kernel.name.clone(),
        vmlinuz: folder.join("vmlinuz"),
        modules: folder.join("lib/modules").join(&release),
        release,
    })
}

fn fetch(build: &Build<'_>, kernel: &Kernel) -> Result<()> {
    let apt = Apt::new(&build.folder.join("apt"), &mirror()?, &kernel.suite, build.log)?;
    build.progress.say("package lists");
    apt.run("apt-get").arg("update").run()?;
    let release = release(&apt.depends(&kernel.package)?)
        .with_context(|| format!("{} of {} depends on no kernel", kernel.package, kernel.suite))?;
    ensure!(
        release.starts_with(&format!("{}.", kernel.name)),
        "{} has {release} instead of {}: correct xtask/versions.toml",
        kernel.suite,
        kernel.name
    );
    build.progress.say(&release);
    let packages = parts(&release, &apt.depends(&format!("linux-image-{release}"))?);
    let debs = build.folder.join("debs");
    fs::create_dir(&debs)?;
    apt.run("apt-get").arg("download").args(&packages).current_dir(&debs).run()?;
    let tree = build.folder.join("tree");
    for deb in fs::read_dir(&debs)? {
        Run::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(&tree).log(build.log).run()?;
    }
    keep(&tree, build.folder, &release)?;
    fs::write(build.folder.join("release"), &release)?;
    for scratch in [&debs, &tree, &build.folder.join("apt")] {
        fs::remove_dir_all(scratch)?;
    }
    Ok(())
}

/// Moves the kernel and its modules to one place: Debian has changed theirs twice.
fn keep(tree: &Path, folder: &Path, release: &str) -> Result<()> {
    let vmlinuz = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
    let vmlinuz = vmlinuz.map(|path| tree.join(path)).into_iter().find(|path| path.is_file());
    fs::rename(vmlinuz.context("the packages hold no kernel")?, folder.join("vmlinuz"))?;
    let modules = ["lib/modules", "usr/lib/modules"].map(|path| tree.join(path).join(release));
    let modules = modules.into_iter().find(|path| path.is_dir()).context("the packages hold no modules")?;
    fs::create_dir_all(folder.join("lib/modules"))?;
    fs::rename(modules, folder.join("lib/modules").join(release))?;
    Ok(())
}

/// The mirror that this machine's apt already uses for Debian itself.
pub(crate) fn mirror() -> Result<String> {
    let format = "$(REPO_URI) $(CODENAME)";
    let args = ["indextargets", "--format", format, "Created-By: Packages", "Origin: Debian"];
    let targets = Run::new("apt-get").args(args).output()?;
    mirror_of(&targets).context("apt knows no Debian mirror")
}

fn mirror_of(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let (uri, codename) = line.rsplit_once(' ')?;
        // Updates and security live in archives of their own, which have no other suite's kernel.
        (!codename.contains('-')).then(|| uri.to_owned())
    })
}

/// apt with lists, state and cache in one folder.
struct Apt<'a> {
    config: PathBuf,
    log: &'a Path,
}

impl<'a> Apt<'a> {
    fn new(folder: &Path, mirror: &str, suite: &str, log: &'a Path) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        fs::write(folder.join("status"), "")?;
        let source = format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {suite} main\n");
        fs::write(folder.join("sources.list"), source)?;
        let at = folder.display();
        let config = folder.join("apt.conf");
        fs::write(
            &config,
            format!(
                "Dir::State \"{at}\";\nDir::State::status \"{at}/status\";\nDir::Cache \"{at}/cache\";\n\
                 Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
                 Dir::Etc::preferencesparts \"-\";\nDir::Etc::preferences \"-\";\nAcquire::Languages \"none\";\n\
                 Acquire::Retries \"3\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
            ),
        )?;
        Ok(Self { config, log })
    }

    fn run(&self, program: &str) -> Run {
        Run::new(program).env("APT_CONFIG", &self.config).log(self.log)
    }

    /// What a package depends on.
    fn depends(&self, package: &str) -> Result<Vec<String>> {
        let index = self.run("apt-cache").args(["show", "--no-all-versions", package]).output()?;
        match field(&index, "Depends") {
            Some(depends) => Ok(names(depends)),
            None => bail!("apt knows no dependencies of {package}"),
        }
    }
}

/// A field of the first package in an index of apt. (None of those that are asked for continues on a second line.)
fn field<'a>(index: &'a str, name: &str) -> Option<&'a str> {
    index.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The packages that a `Depends` field names, without versions; of alternatives the first.
fn names(depends: &str) -> Vec<String> {
    depends.split(',').filter_map(|one| one.split_whitespace().next()).map(str::to_owned).collect()
}

/// The kernel release that a meta package depends on. Its first dependency need not be the kernel.
fn release(depends: &[String]) -> Option<String> {
    let releases = depends.iter().filter_map(|name| name.strip_prefix("linux-image-"));
    releases.into_iter().find(|rest| rest.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned)
}

/// The packages that hold a kernel: one until trixie, three since.
fn parts(release: &str, depends: &[String]) -> Vec<String> {
    let all = ["image", "binary", "modules"].map(|part| format!("linux-{part}-{release}"));
    all.into_iter().filter(|name| name.starts_with("linux-image-") || depends.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "Package: linux-image-cloud-amd64\nVersion: 7.2.13-1\n\
        Depends: linux-base-cloud-amd64 (= 7.2.13-1), linux-image-7.2.13+deb14-cloud-amd64 (= 7.2.13-1)\n\
        Description: Linux for x86-64 cloud (meta-package)\n";

    #[test]
    fn the_kernel_is_found_although_it_is_not_the_first_dependency() {
        let depends = names(field(SID, "Depends").unwrap());
        assert_eq!(depends, ["linux-base-cloud-amd64", "linux-image-7.2.13+deb14-cloud-amd64"]);
        assert_eq!(release(&depends).unwrap(), "7.2.13+deb14-cloud-amd64");
        assert_eq!(release(&names("linux-image-cloud-amd64, kmod")), None);
    }

    #[test]
    fn a_kernel_in_one_package_and_one_in_three_are_fetched_whole() {
        let old = names("kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool");
        assert_eq!(parts("6.1.0-1-cloud-amd64", &old), ["linux-image-6.1.0-1-cloud-amd64"]);
        let new = names("dracut | initramfs-tools, linux-base-9, linux-binary-9 (= 1), linux-modules-9 (= 1)");
        assert_eq!(parts("9", &new), ["linux-image-9", "linux-binary-9", "linux-modules-9"]);
    }

    #[test]
    fn the_mirror_is_the_archive_itself_not_its_updates() {
        let targets = "http://sec.example/debian-security/ bookworm-security\nhttp://m.example/debian/ bookworm-updates\n\
                       http://m.example/debian/ bookworm\n";
        assert_eq!(mirror_of(targets).unwrap(), "http://m.example/debian/");
        assert_eq!(mirror_of(""), None);
    }
}
