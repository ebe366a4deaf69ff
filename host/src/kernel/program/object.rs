//! The BPF object: its maps, made once, and its programs, patched and relocated for each instance.
//!
//! Each instance has read-only globals of its own. What they decide is taken out of it; what it still reads
//! of them stands in a map that is frozen before the program is loaded, so that the verifier knows it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use aya::maps::{Map, MapData, MapError};
use aya_obj::btf::{BtfError, BtfFeatures};
use aya_obj::generated::{
    BPF_F_NO_PREALLOC, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE, bpf_func_info, bpf_insn,
    bpf_map_type,
};
use aya_obj::maps::Map as ObjectMap;
use aya_obj::relocation::EbpfRelocationError;
use aya_obj::{Object, ParseError, ProgramSection};

use super::abi::{self, AbiError};
use super::function_types;
use super::reduce::{GLOBALS, LOAD_IMMEDIATE, ReduceError, Reduced, reduce};
use super::syscall::{self, Sleep};
use crate::kernel::btf::KernelTypes;

/// The BPF object, built from `ebpf/` by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/krsi-host-ebpf"));

/// Map of the read-only globals.
const RODATA: &str = ".rodata";

/// A map that no program that sleeps may look into, and an empty one of the same keys and values.
const STAND_IN: (&str, &str) = ("NETWORK", "NOWHERE");

/// Kinds of types that are kept: those that every kernel knows, and functions, which are global where
/// the object says so.
const FUNCTIONS_ONLY: BtfFeatures =
    BtfFeatures::new(true, true, true, false, false, false, false, false);

/// Why the object cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The object does not parse.
    #[error("the BPF object does not parse")]
    Parse(#[from] ParseError),
    /// The object has another layout version than this host, or tells none.
    #[error(transparent)]
    Abi(#[from] AbiError),
    /// A map could not be made.
    #[error("map {name} cannot be made")]
    Map {
        name: String,
        #[source]
        source: Box<MapError>,
    },
    /// A map's descriptor could not be kept, or its content not be frozen.
    #[error("map {name}")]
    Freeze {
        name: String,
        #[source]
        source: io::Error,
    },
    /// The object holds no program of that name.
    #[error("the object holds no program {program}")]
    NoProgram { program: String },
    /// The types of the object are wrong.
    #[error("the object's types")]
    Types(#[from] BtfError),
    /// References cannot be resolved.
    #[error("the object's references cannot be resolved")]
    Relocation(#[from] EbpfRelocationError),
    /// A program is not what a compiler makes.
    #[error("the object's instructions")]
    Instructions(#[from] ReduceError),
}

/// The object's programs with the maps that they share.
pub struct ObjectFile {
    /// The object without its programs: what patches the read-only globals.
    globals: Mutex<Object>,
    /// The globals as the object has them.
    initial: aya_obj::Map,
    programs: HashMap<String, Linked>,
    maps: HashMap<String, OwnedFd>,
    types: Option<OwnedFd>,
    /// Bytes of the types.
    type_bytes: Vec<u8>,
    /// The same types where functions of numbers alone are global, once they are asked for.
    number_types: OnceLock<Option<OwnedFd>>,
}

/// Which functions are global, and so verified once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GlobalFunctions {
    /// All global functions of the object.
    All,
    /// Functions that take numbers alone: before 5.13 a global function takes no pointer.
    OfNumbers,
}

/// A program with all functions that it calls; [`GLOBALS`] stands for its read-only globals.
struct Linked {
    instructions: Vec<bpf_insn>,
    functions: Vec<bpf_func_info>,
    sleep: Sleep,
}

/// When a hash map takes the memory of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapRoom {
    /// All of it when it is made: before 6.1 programs that sleep or trace have no other maps.
    AtOnce,
    /// The map allocates memory for an element when it is inserted.
    AsUsed,
}

impl MapRoom {
    /// The way in which maps of this kernel allocate memory for elements.
    #[must_use]
    pub fn of(types: &KernelTypes) -> Self {
        // The allocator by which any program may put an element in (`kernel/bpf/memalloc.c`).
        if types.has_function("bpf_mem_alloc_init") { Self::AsUsed } else { Self::AtOnce }
    }
}

/// A program ready to load.
pub struct Instance {
    pub instructions: Vec<bpf_insn>,
    /// Where its functions begin, and their types.
    pub functions: Vec<bpf_func_info>,
    /// Its read-only globals, if it reads any: kept as long as it is to be loaded.
    pub rodata: Option<OwnedFd>,
}

impl ObjectFile {
    /// Parses the object and makes its maps; `entries` names those that get another size.
    /// Hash maps take memory as `room` says.
    ///
    /// # Errors
    /// When the object does not parse or the kernel refuses a map.
    pub fn create(
        entries: &[(&str, u32)],
        room: MapRoom,
    ) -> Result<(Self, HashMap<String, Map>), ObjectError> {
        let mut object = Object::parse(OBJECT)?;
        abi::check(&mut object)?;
        let mut maps = HashMap::new();
        let mut typed = HashMap::new();
        for (name, map) in object.maps.iter_mut().filter(|(name, _)| name.as_str() != RODATA) {
            let failed = |source| ObjectError::Map { name: name.clone(), source: Box::new(source) };
            if let Some((_, size)) = entries.iter().find(|(wanted, _)| wanted == name) {
                map.set_max_entries(*size);
            }
            if let (MapRoom::AsUsed, ObjectMap::Legacy(hash)) = (room, &mut *map)
                && hash.def.map_type == bpf_map_type::BPF_MAP_TYPE_HASH as u32
            {
                hash.def.map_flags |= BPF_F_NO_PREALLOC;
            }
            let data = MapData::create(map.clone(), name, None).map_err(failed)?;
            let fd = data.fd().as_fd().try_clone_to_owned();
            let fd = fd.map_err(|source| ObjectError::Freeze { name: name.clone(), source })?;
            typed.insert(name.clone(), Map::from_map_data(data).map_err(failed)?);
            maps.insert(name.clone(), fd);
        }
        let types = object.fixup_and_sanitize_btf(&FUNCTIONS_ONLY)?.map(|types| types.to_bytes());
        // Without them a program is verified as if it were one function.
        let type_bytes = types.unwrap_or_default();
        let types = syscall::load_types(&type_bytes).ok();
        let initial = object.maps.get(RODATA).cloned().ok_or_else(no_globals)?;
        let programs = link(&mut object, &maps)?;
        object.functions.clear();
        object.programs.clear();
        object.btf = None;
        object.btf_ext = None;
        let (globals, number_types) = (Mutex::new(object), OnceLock::new());
        let file = Self { globals, initial, programs, maps, types, type_bytes, number_types };
        Ok((file, typed))
    }

    /// The types of its functions, where the kernel takes them.
    #[must_use]
    pub(crate) fn types(&self, global: GlobalFunctions) -> Option<BorrowedFd<'_>> {
        let types = match global {
            GlobalFunctions::All => &self.types,
            GlobalFunctions::OfNumbers => self.number_types.get_or_init(|| {
                let types = function_types::numbers_alone(&self.type_bytes)?;
                syscall::load_types(&types).ok()
            }),
        };
        types.as_ref().map(AsFd::as_fd)
    }

    /// An instance of a program with its globals set, reduced to what they leave of it. One that `sleeps`
    /// gets [`STAND_IN`] for what it may not look into.
    ///
    /// # Errors
    /// When there is no such program or global, or the kernel refuses the map of globals.
    pub fn instance(
        &self,
        program: &str,
        globals: HashMap<&str, (&[u8], bool)>,
        sleeps: bool,
    ) -> Result<Instance, ObjectError> {
        let linked = self.programs.get(program);
        let linked =
            linked.ok_or_else(|| ObjectError::NoProgram { program: program.to_owned() })?;
        let bytes = self.patched(globals)?;
        let reduced = reduce(&linked.instructions, &linked.functions, &bytes)?;
        let Reduced { mut instructions, functions, reads_globals } = reduced;
        if sleeps {
            self.stand_in(&mut instructions);
        }
        if !reads_globals {
            return Ok(Instance { instructions, functions, rodata: None });
        }
        let data = MapData::create(self.initial.clone(), RODATA, None).map_err(|source| {
            ObjectError::Map { name: RODATA.to_owned(), source: Box::new(source) }
        })?;
        let fd = data.fd().as_fd().try_clone_to_owned().map_err(frozen)?;
        syscall::freeze(fd.as_fd(), &bytes).map_err(frozen)?;
        replace(&mut instructions, BPF_PSEUDO_MAP_VALUE, (GLOBALS, fd.as_raw_fd()));
        Ok(Instance { instructions, functions, rodata: Some(fd) })
    }

    /// The read-only globals with some of them set.
    fn patched(&self, globals: HashMap<&str, (&[u8], bool)>) -> Result<Vec<u8>, ObjectError> {
        // Whoever held it left at worst what the first lines overwrite.
        let mut object = self.globals.lock().unwrap_or_else(PoisonError::into_inner);
        let rodata = object.maps.get_mut(RODATA).ok_or_else(no_globals)?;
        self.initial.data().clone_into(rodata.data_mut());
        object.patch_map_data(globals)?;
        Ok(object.maps.get(RODATA).ok_or_else(no_globals)?.data().to_vec())
    }

    fn stand_in(&self, instructions: &mut [bpf_insn]) {
        let (asleep, stand_in) = STAND_IN;
        if let (Some(from), Some(to)) = (self.maps.get(asleep), self.maps.get(stand_in)) {
            replace(instructions, BPF_PSEUDO_MAP_FD, (from.as_raw_fd(), to.as_raw_fd()));
        }
    }

    /// Whether the source of a program says that it sleeps.
    #[must_use]
    pub fn sleep(&self, program: &str) -> Sleep {
        self.programs.get(program).map_or(Sleep::Never, |program| program.sleep)
    }
}

/// Links every program of an object, once for all their instances.
fn link(
    object: &mut Object,
    maps: &HashMap<String, OwnedFd>,
) -> Result<HashMap<String, Linked>, ObjectError> {
    let texts: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let declared = object.maps.clone();
    let fd = |name: &str| maps.get(name).map_or(GLOBALS, AsRawFd::as_raw_fd);
    let shared = declared.iter().map(|(name, map)| (name.as_str(), fd(name), map));
    object.relocate_maps(shared, &texts)?;
    object.relocate_calls(&texts)?;
    let mut programs = HashMap::new();
    for (name, program) in &object.programs {
        let function = object.functions.get(&program.function_key());
        let function = function.ok_or_else(|| ObjectError::NoProgram { program: name.clone() })?;
        let sleep = match &program.section {
            ProgramSection::Lsm { sleepable: true } => Sleep::Allowed,
            _ => Sleep::Never,
        };
        let linked = Linked {
            instructions: function.instructions.clone(),
            functions: function.func_info.func_info.clone(),
            sleep,
        };
        programs.insert(name.clone(), linked);
    }
    Ok(programs)
}

/// Puts one descriptor in place of another in the addresses of a kind.
fn replace(instructions: &mut [bpf_insn], kind: u32, (from, to): (RawFd, RawFd)) {
    let mut at = 0;
    while let Some(instruction) = instructions.get_mut(at) {
        let is_wide = instruction.code == LOAD_IMMEDIATE;
        if is_wide && u32::from(instruction.src_reg()) == kind && instruction.imm == from {
            instruction.imm = to;
        }
        at += if is_wide { 2 } else { 1 };
    }
}

fn frozen(source: io::Error) -> ObjectError {
    ObjectError::Freeze { name: RODATA.to_owned(), source }
}

fn no_globals() -> ObjectError {
    frozen(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use krsi_host_abi::ABI_VERSION;
    use krsi_host_abi::frozen::ABI_SECTION;

    use super::*;

    #[test]
    fn an_object_of_another_layout_is_refused() {
        let check = |section: Option<Vec<u8>>, expected| {
            let mut object = Object::parse(OBJECT).unwrap();
            match section {
                Some(bytes) => *object.maps.get_mut(ABI_SECTION).unwrap().data_mut() = bytes,
                None => drop(object.maps.remove(ABI_SECTION)),
            }
            assert_eq!(abi::check(&mut object), expected);
            assert!(!object.maps.contains_key(ABI_SECTION));
        };
        let object = Object::parse(OBJECT).unwrap();
        check(Some(object.maps[ABI_SECTION].data().to_vec()), Ok(()));
        let other = ABI_VERSION + 1;
        check(Some(other.to_le_bytes().to_vec()), Err(AbiError::Other { object: other }));
        check(Some(vec![1]), Err(AbiError::Unknown));
        check(None, Err(AbiError::Unknown));
    }
}
