//! Memory: the kernel's, as a whole, because no counter of its own knows all of it (`memlock` of 6.1 leaves out the ring, and
//! no kernel's has the type information that each program keeps); and the agent's.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the kernel has taken for itself, in a guest where nobody else does anything.
pub struct KernelMemory {
    unreclaimable: f64,
    vmalloc: f64,
    per_cpu: f64,
    rings: f64,
}

/// What it has grown by.
pub struct Grown {
    pub total: f64,
    pub per_cpu: f64,
}

impl KernelMemory {
    pub fn now() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u32>().ok());
            f64::from(kilobytes.unwrap_or_else(|| panic!("/proc/meminfo has no {name}"))) * 1024.0
        };
        Self {
            unreclaimable: field("SUnreclaim"),
            vmalloc: field("VmallocUsed"),
            per_cpu: field("Percpu"),
            rings: rings(),
        }
    }

    pub fn until_now(&self) -> Grown {
        std::thread::sleep(Duration::from_millis(500));
        self.until(&Self::now())
    }

    pub fn until(&self, later: &Self) -> Grown {
        let per_cpu = later.per_cpu - self.per_cpu;
        let others = [later.unreclaimable - self.unreclaimable, later.vmalloc - self.vmalloc, later.rings - self.rings];
        Grown { total: per_cpu + others.iter().sum::<f64>(), per_cpu }
    }
}

/// Pages of ring buffers that are mapped, which none of the counters has.
fn rings() -> f64 {
    let ring = "/sys/fs/bpf/stockade";
    let Ok(directories) = fs::read_dir(ring) else { return 0.0 };
    let paths = directories.map(|directory| directory.unwrap().path().join("EVENTS"));
    let size = |path: &Path| {
        let map = stockade_enforcer_kernel::map::Map::open(path).unwrap();
        f64::from(map.shape().entries)
    };
    paths.filter(|path| path.exists()).map(|path| size(&path)).sum()
}

/// Resident bytes of an agent that has made these policies true.
pub fn of_agent(program: &Path, policies: &[(String, String)]) -> f64 {
    const LISTEN: &str = "127.0.0.1:8081";
    let directory = Path::new("/tmp/policies");
    fs::create_dir_all(directory).unwrap();
    for (name, document) in policies {
        fs::write(directory.join(name), document).unwrap();
    }
    let log = fs::File::create("/tmp/agent.log").unwrap();
    let mut agent = Command::new(program)
        .arg("--policy-dir")
        .arg(directory)
        .args([
            "--listen",
            LISTEN,
            "--state-dir",
            "/tmp/agent-state",
            "--events",
            "/tmp/events",
            "--node-name",
            "bench",
        ])
        .stdout(Stdio::from(log.try_clone().unwrap()))
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !ready(LISTEN) {
        let log = || fs::read_to_string("/tmp/agent.log").unwrap();
        assert!(agent.try_wait().unwrap().is_none(), "the agent has ended: {}", log());
        assert!(start.elapsed() < Duration::from_secs(600), "the agent does not become ready: {}", log());
        std::thread::sleep(Duration::from_millis(500));
    }
    let resident = resident(&agent);
    agent.kill().unwrap();
    agent.wait().unwrap();
    let detached = Command::new(program)
        .args(["--detach", "--state-dir", "/tmp/agent-state"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(detached.success());
    resident
}

fn ready(address: &str) -> bool {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: bench\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.lines().next().is_some_and(|line| line.contains(" 200 ")))
}

fn resident(process: &Child) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}
