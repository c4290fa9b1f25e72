//! Container images, made from files: the product's, and what tests run in pods.
//!
//! An image's tag is taken from its contents, so an image that changed has another name, and one that did not is not pushed twice.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    cluster::{REGISTRY, Rig},
    process::{Run, which},
    step::step,
    vm::initramfs::libraries,
    workspace,
};

/// An image that can be pushed.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    repository: String,
    tag: String,
    archive: PathBuf,
}

/// What an image is made of.
struct Recipe<'a> {
    repository: &'a str,
    /// What it runs.
    entrypoint: &'a [&'a str],
    /// What tells it from another image with the same files.
    label: &'a str,
}

impl Image {
    /// The repository in the rig's registry.
    pub(crate) fn repository(&self) -> String {
        format!("{REGISTRY}/{}", self.repository)
    }

    /// The tag.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// The whole name.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.repository(), self.tag)
    }

    /// Puts it into the rig's registry, under its tag.
    pub(crate) fn push(&self, rig: &Rig) -> Result<()> {
        self.push_as(rig, &self.name())
    }

    fn push_as(&self, rig: &Rig, name: &str) -> Result<()> {
        let output = rig
            .command(rig.fixture().registry())
            .args(["push", "--ca"])
            .arg(rig.pki().ca())
            .arg(&self.archive)
            .arg(name)
            .output()?;
        anyhow::ensure!(output.status.success(), "cannot push {name}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// The two images that every node needs: the pause container of each pod, and a shell to test with.
pub(crate) fn push_basics(rig: &Rig) -> Result<()> {
    let files = busybox(&rig.dir().join("images/busybox"))?;
    let archives = rig.dir().join("images");
    let pause = Recipe { repository: "pause", entrypoint: &["/bin/sleep", "2147483647"], label: "" };
    build(&files, &pause, &archives)?.push_as(rig, &format!("{REGISTRY}/pause:1"))?;
    let shell = Recipe { repository: "box", entrypoint: &["/bin/sh"], label: "" };
    build(&files, &shell, &archives)?.push_as(rig, &box_image())
}

/// The image of busybox that [`push_basics`] pushes.
pub(crate) fn box_image() -> String {
    format!("{REGISTRY}/box:1")
}

/// The product's images.
#[derive(Debug, Clone)]
pub(crate) struct Product {
    /// The cluster's controller.
    pub(crate) operator: Image,
    /// The node's agent.
    pub(crate) enforcer: Image,
}

impl Product {
    /// Puts both programs of the folder `binaries` into an image each, with their libraries. `label` makes another tag of
    /// the same programs, for an upgrade that must pull.
    pub(crate) fn build(binaries: &Path, dir: &Path, label: &str) -> Result<Self> {
        let image = |program: &str, repository: &str| {
            let files = dir.join(program);
            with_libraries(&binaries.join(program), &files)?;
            let entrypoint = format!("/{program}");
            build(&files, &Recipe { repository, entrypoint: &[&entrypoint], label }, dir)
        };
        Ok(Self {
            operator: image("stockade-operator", "stockade/operator")?,
            enforcer: image("stockade-enforcer", "stockade/enforcer")?,
        })
    }

    /// The chart's values that name these images.
    pub(crate) fn values(&self) -> String {
        let image = |name: &str, image: &Image| {
            format!("{name}:\n  image:\n    repository: {}\n    tag: \"{}\"\n", image.repository(), image.tag())
        };
        image("operator", &self.operator) + &image("enforcer", &self.enforcer)
    }

    /// Puts both into the rig's registry.
    pub(crate) fn push(&self, rig: &Rig) -> Result<()> {
        self.operator.push(rig)?;
        self.enforcer.push(rig)
    }
}

/// The folder of the product's programs, compiled now as users get them. `STOCKADE_PROFILE` asks for another of cargo's
/// profiles.
pub(crate) fn compile() -> Result<PathBuf> {
    crate::ebpf::build()?;
    let profile = std::env::var("STOCKADE_PROFILE").unwrap_or_else(|_| "release".to_owned());
    step("stockade-operator and stockade-enforcer", |_| {
        Run::new("cargo")
            .args(["build", "--quiet", "--profile", &profile])
            .args(["--package", "stockade-operator", "--package", "stockade-enforcer"])
            .current_dir(workspace::root())
            .log(workspace::rig().join("cargo.log"))
            .run()
    })?;
    // cargo's one profile whose folder is called otherwise.
    Ok(workspace::target().join(if profile == "dev" { "debug" } else { &profile }))
}

/// Static programs that resolve names need their C library at run time anyhow, so the image has the program's own libraries.
fn with_libraries(program: &Path, files: &Path) -> Result<()> {
    let name = program.file_name().context("a program without a name")?;
    clear(files)?;
    // Nobody debugs in a container that has no shell; pulling symbols and debug information would take longer than starting.
    Run::new("strip").arg("-o").arg(files.join(name)).arg(program).run()?;
    for library in libraries(program)? {
        let target = files.join(library.strip_prefix("/")?);
        fs::create_dir_all(target.parent().context("a library without a folder")?)?;
        fs::copy(&library, &target).with_context(|| format!("cannot copy {}", library.display()))?;
    }
    Ok(())
}

fn busybox(files: &Path) -> Result<PathBuf> {
    clear(files)?;
    let binary = which("busybox").context("busybox is not installed")?;
    for folder in ["bin", "etc", "root"] {
        fs::create_dir_all(files.join(folder))?;
    }
    fs::create_dir_all(files.join("tmp"))?;
    fs::copy(&binary, files.join("bin/busybox"))?;
    fs::write(files.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    for applet in Run::new(&binary).arg("--list").output()?.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", files.join("bin").join(applet))?;
    }
    Ok(files.to_path_buf())
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Writes an archive as `docker save` would, with one layer. The same files give the same bytes.
fn build(files: &Path, recipe: &Recipe<'_>, into: &Path) -> Result<Image> {
    let work = into.join(format!("{}.image", recipe.repository.replace('/', "-")));
    clear(&work)?;
    tar(&work.join("layer.tar"), files)?;
    let layer = sha256(&fs::read(work.join("layer.tar"))?);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": recipe.entrypoint, "Env": ["PATH=/bin:/usr/bin"], "Labels": {"stockade.dev/build": recipe.label}},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
    });
    let config = serde_json::to_vec(&config)?;
    let tag: String = sha256(&config).chars().take(12).collect();
    fs::write(work.join("config.json"), &config)?;
    let name = format!("{REGISTRY}/{}:{tag}", recipe.repository);
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    fs::write(work.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
    let archive = into.join(format!("{}-{tag}.tar", recipe.repository.replace('/', "-")));
    tar(&archive, &work)?;
    fs::remove_dir_all(&work)?;
    Ok(Image { repository: recipe.repository.to_owned(), tag, archive })
}

fn tar(archive: &Path, files: &Path) -> Result<()> {
    // Its entries by name, without the folder itself, which would be `./` in the archive.
    let mut names = fs::read_dir(files)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Run::new("tar")
        .args(["--create", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"])
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(files)
        .args(names)
        .run()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
