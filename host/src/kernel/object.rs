//! The BPF object: its maps, made once, and its programs, patched and relocated for each instance.
//!
//! Each instance has a read-only map of its own, frozen before the program is loaded, so that the
//! verifier knows what stands there.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::maps::{Map, MapData, MapError};
use aya_obj::btf::{BtfError, BtfFeatures};
use aya_obj::generated::{bpf_func_info, bpf_insn};
use aya_obj::relocation::EbpfRelocationError;
use aya_obj::{Object, ParseError, ProgramSection};

use super::abi::{self, AbiError};
use super::fold;
use super::syscall::{self, Sleep};

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
    /// It does not parse.
    #[error("the BPF object does not parse")]
    Parse(#[from] ParseError),
    /// It is not of this host.
    #[error(transparent)]
    Abi(#[from] AbiError),
    /// A map could not be made.
    #[error("map {name} cannot be made")]
    Map {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<MapError>,
    },
    /// A map's descriptor could not be kept, or its content not be frozen.
    #[error("map {name}")]
    Freeze {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds no program of that name.
    #[error("the object holds no program {program}")]
    NoProgram {
        /// The program.
        program: String,
    },
    /// Its types are wrong.
    #[error("the object's types")]
    Types(#[from] BtfError),
    /// References cannot be resolved.
    #[error("the object's references cannot be resolved")]
    Relocation(#[from] EbpfRelocationError),
}

/// The parsed object with the maps that its programs share.
pub struct ObjectFile {
    object: Object,
    maps: Vec<(String, aya_obj::Map, OwnedFd)>,
    types: Option<OwnedFd>,
}

/// A program ready to load.
pub struct Instance {
    /// Its instructions.
    pub instructions: Vec<bpf_insn>,
    /// Where its functions begin, and their types.
    pub functions: Vec<bpf_func_info>,
    /// Its read-only globals: kept as long as it is to be loaded.
    pub rodata: OwnedFd,
}

impl ObjectFile {
    /// Parses the object and makes its maps; `entries` names those that get another size.
    ///
    /// # Errors
    /// When the object does not parse or the kernel refuses a map.
    pub fn create(entries: &[(&str, u32)]) -> Result<(Self, HashMap<String, Map>), ObjectError> {
        let mut object = Object::parse(OBJECT)?;
        abi::check(&mut object)?;
        let mut maps = Vec::new();
        let mut typed = HashMap::new();
        for (name, map) in object.maps.iter().filter(|(name, _)| name.as_str() != RODATA) {
            let failed = |source| ObjectError::Map { name: name.clone(), source: Box::new(source) };
            let mut map = map.clone();
            if let Some((_, size)) = entries.iter().find(|(wanted, _)| wanted == name) {
                map.set_max_entries(*size);
            }
            let data = MapData::create(map.clone(), name, None).map_err(failed)?;
            let fd = data.fd().as_fd().try_clone_to_owned();
            let fd = fd.map_err(|source| ObjectError::Freeze { name: name.clone(), source })?;
            typed.insert(name.clone(), Map::from_map_data(data).map_err(failed)?);
            maps.push((name.clone(), map, fd));
        }
        let types = object.fixup_and_sanitize_btf(&FUNCTIONS_ONLY)?.map(|types| types.to_bytes());
        // Without them a program is verified as if it were one function.
        let types = types.and_then(|types| syscall::load_types(&types).ok());
        Ok((Self { object, maps, types }, typed))
    }

    /// The types of its functions, where the kernel takes them.
    #[must_use]
    pub fn types(&self) -> Option<BorrowedFd<'_>> {
        self.types.as_ref().map(AsFd::as_fd)
    }

    /// An instance of a program with its globals set. One that `sleeps` gets [`STAND_IN`] for what it may not
    /// look into.
    ///
    /// # Errors
    /// When there is no such program or global, or the kernel refuses the map of globals.
    pub fn instance(
        &self,
        program: &str,
        globals: &HashMap<&str, (&[u8], bool)>,
        sleeps: bool,
    ) -> Result<Instance, ObjectError> {
        let mut object = self.object.clone();
        let found = object.programs.get(program).cloned();
        let found = found.ok_or_else(|| ObjectError::NoProgram { program: program.to_owned() })?;
        object.patch_map_data(globals.clone())?;
        let frozen = |source| ObjectError::Freeze { name: RODATA.to_owned(), source };
        let none = || frozen(io::ErrorKind::NotFound.into());
        let rodata = object.maps.get(RODATA).cloned().ok_or_else(none)?;
        let bytes = rodata.data().to_vec();
        let data = MapData::create(rodata.clone(), RODATA, None).map_err(|source| {
            ObjectError::Map { name: RODATA.to_owned(), source: Box::new(source) }
        })?;
        let fd = data.fd().as_fd().try_clone_to_owned().map_err(frozen)?;
        syscall::freeze(fd.as_fd(), &bytes).map_err(frozen)?;

        let texts: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let (asleep, stand_in) = STAND_IN;
        let stand_in = self.maps.iter().find(|(name, ..)| sleeps && name == stand_in);
        let shared = self.maps.iter().map(|(name, map, fd)| {
            let other = stand_in.filter(|_| name == asleep).map(|(.., fd)| fd);
            (name.as_str(), other.unwrap_or(fd).as_raw_fd(), map)
        });
        object.relocate_maps(shared.chain([(RODATA, fd.as_raw_fd(), &rodata)]), &texts)?;
        object.relocate_calls(&texts)?;
        let function = object.functions.remove(&found.function_key());
        let function =
            function.ok_or_else(|| ObjectError::NoProgram { program: program.to_owned() })?;
        let functions = function.func_info.func_info;
        let mut instructions = function.instructions;
        fold::constants(&mut instructions, fd.as_raw_fd(), &bytes);
        Ok(Instance { instructions, functions, rodata: fd })
    }

    /// Whether the source of a program says that it sleeps.
    #[must_use]
    pub fn sleep(&self, program: &str) -> Sleep {
        match self.object.programs.get(program).map(|program| &program.section) {
            Some(ProgramSection::Lsm { sleepable: true }) => Sleep::Allowed,
            _ => Sleep::Never,
        }
    }
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
