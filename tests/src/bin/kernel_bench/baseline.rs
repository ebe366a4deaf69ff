//! The baselines' object: loaded with the offsets that ours have, one program attached at a time.

use anyhow::{Context, ensure};
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData, PerCpuArray, RingBuf};
use aya::programs::Lsm;
use aya::{Btf, Ebpf, EbpfLoader};
use krsi_host::facade::KernelTypes;
use krsi_host_abi::deny::{Entry, FileKey, NetworkKey, ProcessKey};

use crate::act::Act;
use crate::rule;

/// Where `cargo xtask bench-kernel` puts the object.
const OBJECT: &str = "/krsi/kernel-bench.o";
/// Members that ours reach through a specification and not through the table of offsets.
const MEMBERS: [(&str, &str); 4] = [
    ("VMA_VM_START", "vm_start"),
    ("VMA_VM_END", "vm_end"),
    ("VMA_VM_FLAGS", "vm_flags"),
    ("VMA_VM_FILE", "vm_file"),
];

const SUBJECT_KEY: usize = size_of::<ProcessKey>();
const FILE_KEY: usize = size_of::<FileKey>();
/// Trie data after the prefix length.
const NETWORK_DATA: usize = size_of::<NetworkKey>() - 4;
const ENTRY: usize = size_of::<Entry>();

/// What a baseline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// An empty program.
    Bare,
    /// One look-up of the calling process.
    Process,
    /// One look-up of the file or destination.
    Object,
    /// The path of the file.
    Path,
    Record,
}

impl Work {
    pub const ALL: [Work; 5] = [Work::Bare, Work::Process, Work::Object, Work::Path, Work::Record];

    /// The program that does it for an act, if there is one.
    fn program(self, act: Act) -> String {
        let work = match self {
            Work::Bare => "bare",
            Work::Process => "process",
            Work::Object => "object",
            Work::Path => "path",
            Work::Record => "record",
        };
        format!("{act}_{work}")
    }
}

/// The BPF object of the baselines, loaded.
pub struct Baselines {
    object: Ebpf,
    btf: Btf,
    records: RingBuf<MapData>,
}

impl Baselines {
    /// Loads it, with a rule in each map that concerns nobody here.
    pub fn load(types: &KernelTypes, offsets: &[(&'static str, u32)]) -> anyhow::Result<Self> {
        let btf = Btf::from_sys_fs()?;
        let bytes = std::fs::read(OBJECT).context(OBJECT)?;
        let mut members = Vec::new();
        for (global, member) in MEMBERS {
            members.push((global, types.offset("vm_area_struct", member).context(member)?));
        }
        let mut loader = EbpfLoader::new();
        loader.btf(Some(&btf));
        for (global, value) in offsets.iter().chain(&members) {
            ensure!(*value != krsi_host_abi::capture::ABSENT, "this kernel lacks {global}");
            // A member that no baseline reads is not in the object.
            loader.override_global(global, value, false);
        }
        let mut object = loader.load(&bytes)?;
        put_rules(&mut object)?;
        let records = object.take_map("RECORDS").context("RECORDS")?.try_into()?;
        Ok(Self { object, btf, records })
    }

    /// Attaches a program; false when the act has none.
    pub fn attach(&mut self, act: Act, work: Work) -> anyhow::Result<bool> {
        if self.object.program(&work.program(act)).is_none() {
            return Ok(false);
        }
        let program = lsm(&mut self.object, act, work)?;
        program.load(act.hook(), &self.btf)?;
        program.attach()?;
        Ok(true)
    }

    pub fn detach(&mut self, act: Act, work: Work) -> anyhow::Result<()> {
        Ok(lsm(&mut self.object, act, work)?.unload()?)
    }

    /// Empties the ring: how many records, and how long the last one was.
    pub fn drain(&mut self) -> (u32, usize) {
        let (mut records, mut bytes) = (0, 0);
        while let Some(record) = self.records.next() {
            records += 1;
            bytes = record.len();
        }
        (records, bytes)
    }
}

/// Per-CPU memory that is taken and never used.
///
/// An execution takes memory of the kernel's per-CPU allocator, which searches longer or shorter
/// according to the gaps there; programs and maps leave gaps too. So the search that comes with one
/// program is not that of another. With more and more gaps filled, each case meets its shortest.
#[derive(Default)]
pub struct Ballast(Vec<PerCpuArray<MapData, u64>>);

impl Ballast {
    /// Entries of a map, each a piece of memory of its own, as small as pieces are.
    const ENTRIES: u32 = 200;

    /// Takes memory for another map of [`Self::ENTRIES`] entries.
    pub fn more(&mut self) -> anyhow::Result<()> {
        self.0.push(PerCpuArray::create(Self::ENTRIES, 0)?);
        Ok(())
    }

    /// Gives all of it back.
    pub fn none(&mut self) {
        self.0.clear();
    }
}

fn lsm(object: &mut Ebpf, act: Act, work: Work) -> anyhow::Result<&mut Lsm> {
    let name = work.program(act);
    Ok(object.program_mut(&name).context(name)?.try_into()?)
}

/// One rule in each map.
fn put_rules(object: &mut Ebpf) -> anyhow::Result<()> {
    let entry: [u8; ENTRY] = rule::bytes(&rule::entry());
    let map = object.map_mut("PROCESS").context("PROCESS")?;
    let mut process: HashMap<_, [u8; SUBJECT_KEY], [u8; ENTRY]> = map.try_into()?;
    process.insert(rule::bytes::<SUBJECT_KEY>(&rule::stranger(1)), entry, 0)?;
    let map = object.map_mut("FILE").context("FILE")?;
    let mut file: HashMap<_, [u8; FILE_KEY], [u8; ENTRY]> = map.try_into()?;
    file.insert(rule::bytes::<FILE_KEY>(&rule::file(1)), entry, 0)?;
    let map = object.map_mut("NETWORK").context("NETWORK")?;
    let mut network: LpmTrie<_, [u8; NETWORK_DATA], [u8; ENTRY]> = map.try_into()?;
    let key = rule::destination(1);
    let [_, _, _, _, data @ ..]: [u8; NETWORK_DATA + 4] = rule::bytes(&key);
    network.insert(&Key::new(key.prefix_bits, data), entry, 0)?;
    Ok(())
}
