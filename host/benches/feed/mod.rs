//! A ring that is filled natively, and the plugins of the benches: what every bench stands on.
#![allow(dead_code, reason = "each bench uses its part")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, ensure};
use aya::maps::{Array, MapData};
use aya::programs::RawTracePoint;
use aya::{Ebpf, EbpfLoader};
use krsi_host::facade::{
    COMPILE_VERB, CompileLimits, Config, Format, ModeArg, PluginSpec, Ring, Settings,
};
use krsi_host_abi::deny::{FileKey, ProcessKey};
use krsi_host_abi::record::{FileOpen, Header, Text, Verdict};
use zerocopy::IntoBytes;

/// `getppid` on x86_64: does nothing else, and is a system call every time.
const SYSCALL: u64 = 110;
/// Words of a record of the feeder: header, body of `file_open`, 40 bytes of path.
const WORDS: usize = (size_of::<Header>() + size_of::<FileOpen>() + 40) / size_of::<u64>();
/// Records of one call at most.
pub const BURST: u64 = 64;
/// `BPF_RB_NO_WAKEUP`.
pub const NO_WAKEUP: u64 = 1;

pub fn workspace() -> anyhow::Result<PathBuf> {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
    benches.ancestors().nth(2).map(Path::to_owned).context("the benches lie in the workspace")
}

/// The bench itself, which is a krsi-host where [`as_child`] says so.
pub fn program() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?)
}

/// In the child of a host that compiles a plugin: does so, and returns its exit code.
pub fn as_child() -> Option<ExitCode> {
    let verb = std::env::args().nth(1);
    (verb.as_deref() == Some(COMPILE_VERB)).then(krsi_host::main)
}

/// The feeder: a ring, and who fills it.
pub struct Feeder {
    object: Ebpf,
    order: Array<MapData, [u64; 3]>,
    counts: Array<MapData, [u64; 2]>,
}

impl Feeder {
    /// Loads the feeder with a ring of so many bytes.
    pub fn start(ring_bytes: u32) -> anyhow::Result<Self> {
        let root = workspace()?;
        let object = krsi_toolchain::build_feeder(&root, &root.join("target/bench"))?;
        let bytes = std::fs::read(object)?;
        let tgid = std::process::id();
        let mut object = EbpfLoader::new()
            .btf(None)
            .map_max_entries("RECORDS", ring_bytes)
            .override_global("FEEDER_TGID", &tgid, true)
            .override_global("FEEDER_SYSCALL", &SYSCALL, true)
            .load(&bytes)
            .context("benches need root and BPF")?;
        let program: &mut RawTracePoint = object.program_mut("feed").context("feed")?.try_into()?;
        program.load()?;
        program.attach("sys_enter")?;
        let map = |object: &mut Ebpf, name| object.take_map(name).context("a map");
        let mut template = Array::<_, [u64; WORDS]>::try_from(map(&mut object, "TEMPLATE")?)?;
        template.set(0, record(), 0)?;
        let order = Array::try_from(map(&mut object, "ORDER")?)?;
        let counts = Array::try_from(map(&mut object, "COUNTS")?)?;
        Ok(Self { object, order, counts })
    }

    /// The ring that records are read from; it can be taken once.
    pub fn ring(&mut self) -> anyhow::Result<Ring> {
        Ok(Ring::try_from(self.object.take_map("RECORDS").context("taken")?)?)
    }

    /// Sets the records that each call writes, the mask of their order, and the flags they are submitted with.
    pub fn order(&mut self, records: u64, mask: u64, flags: u64) -> anyhow::Result<()> {
        ensure!(records <= BURST, "{records} records");
        Ok(self.order.set(0, [records, mask, flags], 0)?)
    }

    /// Makes the system call that the object writes records on.
    pub fn fire(&self) {
        let _parent = rustix::process::getppid();
    }

    /// Records written and dropped.
    pub fn counts(&self) -> anyhow::Result<(u64, u64)> {
        let [written, dropped] = self.counts.get(&0, 0)?;
        Ok((written, dropped))
    }
}

/// An open of a library, as the kernel half writes it.
pub fn record() -> [u64; WORDS] {
    let path = b"/usr/lib/x86_64-linux-gnu/libc.so.6";
    let header = Header {
        abi: u16::try_from(krsi_host_abi::ABI_VERSION).unwrap_or(0),
        hook: krsi_host_abi::hook::Hook::FileOpen.id(),
        cpu: 0,
        boot_ns: 1,
        process: ProcessKey { start_boot_ns: 1_000_000, tgid: 1000, pad: 0 },
        parent: ProcessKey { start_boot_ns: 1, tgid: 1, pad: 0 },
        tid: 1000,
        uid: 0,
        gid: 0,
        mount_ns: 1,
        cgroup_id: 1,
        rule_id: 0,
        errno: 0,
        verdict: Verdict::None as u8,
        owner: 0,
        pad: 0,
        labels: 0,
        given: 0,
        comm: *b"bench\0\0\0\0\0\0\0\0\0\0\0",
    };
    let body = FileOpen {
        file: FileKey { ino: 42, dev: 8, generation: 0 },
        path: Text { offset: 0, len: path.len() as u16, flags: 0, pad: 0 },
        flags: 0,
        mode: 0o100_755,
    };
    let mut bytes = [header.as_bytes(), body.as_bytes(), path].concat();
    bytes.resize(WORDS * 8, 0);
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
    }
    words
}

/// Gauges of different names, and their configuration.
pub fn gauges(count: usize, config: &str) -> anyhow::Result<Vec<PluginSpec>> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let root = workspace()?;
    if BUILT.get().is_none() {
        let packages = ["fixture-gauge".to_owned()];
        let folder = krsi_toolchain::build_plugins(&root, &root.join("target/wasm"), &packages)?;
        let _first = BUILT.set(folder);
    }
    let wasm = std::fs::read(BUILT.get().context("built")?.join("gauge.wasm"))?;
    let folder = root.join("target/bench/gauges");
    std::fs::create_dir_all(&folder)?;
    let at = wasm.windows(8).position(|window| window == b"gauge-00").context("its name")?;
    (0..count)
        .map(|number| {
            let mut own = wasm.clone();
            own.splice(at..at + 8, format!("gauge-{number:02}").bytes());
            let file = folder.join(format!("gauge-{number:02}.wasm"));
            std::fs::write(&file, own)?;
            std::fs::write(file.with_extension("toml"), config)?;
            Ok(PluginSpec::beside(file))
        })
        .collect()
}

/// A configuration for benches: queues that take everything, code that stays compiled.
pub fn config(plugins: Vec<PluginSpec>) -> anyhow::Result<Config> {
    let mut base = Settings::default();
    base.limits.queue_records = 1 << 24;
    base.limits.call_deadline = Duration::from_secs(10);
    Ok(Config {
        plugins,
        plugin_dirs: Vec::new(),
        shadows: Vec::new(),
        format: Format::Json,
        ring_bytes: 1 << 20,
        backend: None,
        mode: ModeArg::Enforce,
        watches: Vec::new(),
        without: Vec::new(),
        witness: false,
        base,
        file: None,
        compile: CompileLimits::default(),
        cache: Some(workspace()?.join("target/bench/cache")),
        require_signed: None,
        control: None,
        allow_writable: true,
        ready_file: None,
        flight: None,
        record: None,
    })
}

/// The running process on one core.
pub fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}
