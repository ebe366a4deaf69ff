//! Takes out of a program, before it is loaded, what its frozen globals decide: branches that are never
//! taken, values that nobody reads, functions that nobody calls.
//!
//! The verifier would do the same, one region at a time, moving the rest of the program each time; and it
//! keeps memory for the program as it was loaded. What the program answers and reports stays as it is.
//!
//! A round has four steps: [`flow`] follows constants from the entry and finds what can be reached,
//! [`simplify`] writes them into the instructions, [`jump`] takes out what jumps no longer lead to, and [`live`] finds
//! values that nobody reads.

mod code;
mod flow;
mod jump;
mod live;
mod simplify;
mod stack;
mod value;

#[cfg(test)]
mod machine;
#[cfg(test)]
mod tests;

use std::os::fd::RawFd;

use aya_obj::generated::{bpf_func_info, bpf_insn};

use self::code::ProgramCode;

pub(super) use self::code::LOAD_IMMEDIATE;

/// Stands for the map of read-only globals until an instance has one; no descriptor has this number.
pub(crate) const GLOBALS: RawFd = RawFd::MAX;

/// Rounds after which little is left to find.
const ROUNDS: usize = 4;

/// Why a program cannot be reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReduceError {
    /// A jump or call leads out of the program, or into the middle of an instruction.
    #[error("instruction {at} leads nowhere")]
    Target {
        /// Place of the instruction in the program.
        at: usize,
    },
    /// An instruction that ends inside the program's last place.
    #[error("instruction {at} is cut")]
    Cut {
        /// Place of the instruction in the program.
        at: usize,
    },
    /// A distance does not fit into its instruction.
    #[error("instruction {at} leads too far")]
    Far {
        /// Place of the instruction in the program.
        at: usize,
    },
}

/// A program that was reduced.
#[derive(Debug)]
pub(crate) struct Reduced {
    pub instructions: Vec<bpf_insn>,
    /// Where its functions begin, and their types.
    pub functions: Vec<bpf_func_info>,
    /// Whether it still reads the map of read-only globals.
    pub reads_globals: bool,
}

/// Reduces a program whose functions begin where `functions` says, with the content of the map
/// [`GLOBALS`].
///
/// # Errors
/// When the program is not one that a compiler makes.
pub(crate) fn reduce(
    instructions: &[bpf_insn],
    functions: &[bpf_func_info],
    globals: &[u8],
) -> Result<Reduced, ReduceError> {
    in_rounds(ROUNDS, instructions, functions, globals)
}

fn in_rounds(
    rounds: usize,
    instructions: &[bpf_insn],
    functions: &[bpf_func_info],
    globals: &[u8],
) -> Result<Reduced, ReduceError> {
    let mut code = ProgramCode::read(instructions, functions)?;
    for _ in 0..rounds {
        let reached = flow::follow(&code, globals)?;
        let mut changed = simplify::apply(&mut code, &reached);
        code.compact();
        changed |= live::drop_unread(&mut code);
        changed |= code.drop_jumps_to_next();
        changed |= code.drop_unreachable();
        if !changed {
            break;
        }
        code.compact();
    }
    code.write()
}
