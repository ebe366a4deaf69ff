//! A denial without krsi-host: a few instructions on the hook's function, to try what the table says of it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::Caller;
use super::call::{at, open};

const PROG_LOAD: usize = 5;
const RAW_TRACEPOINT_OPEN: usize = 17;
const PROG_TYPE_TRACING: u32 = 26;
const MODIFY_RETURN: u32 = 26;
const GET_CURRENT_PID_TGID: i32 = 14;

/// An errno that no kernel here answers by itself: ELNRNG.
pub(super) const ERRNO: i32 = 48;

/// Denies as long as it lives.
pub(super) struct Denying {
    _link: OwnedFd,
}

/// An instruction without a source register, as one word: code, destination register 0, offset, constant.
const fn instruction(code: u8, offset: u16, constant: i32) -> u64 {
    code as u64 | (offset as u64) << 16 | (constant.cast_unsigned() as u64) << 32
}

impl Denying {
    /// Denies what reaches the function with that BTF id, of this process or of all others.
    pub(super) fn start(btf_id: u32, caller: Caller) -> io::Result<Self> {
        let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        let (jump_if_equal, jump_if_not_equal) = (0x15, 0x55);
        let jump = if caller == Caller::Own { jump_if_equal } else { jump_if_not_equal };
        let code = [
            instruction(0x85, 0, GET_CURRENT_PID_TGID),
            // r0 >>= 32
            instruction(0x77, 0, 32),
            instruction(jump, 2, own),
            // r0 = 0; exit
            instruction(0xb7, 0, 0),
            instruction(0x95, 0, 0),
            // r0 = -ERRNO; exit
            instruction(0xb7, 0, -ERRNO),
            instruction(0x95, 0, 0),
        ];
        // `union bpf_attr` up to attach_btf_id, in words of eight bytes.
        let mut attributes = [0_u64; 15];
        attributes[0] = u64::from(PROG_TYPE_TRACING) | (code.len() as u64) << 32;
        attributes[1] = at(&code) as u64;
        attributes[2] = at(c"GPL".to_bytes_with_nul()) as u64;
        attributes[8] = u64::from(MODIFY_RETURN) << 32;
        attributes[13] = u64::from(btf_id) << 32;
        let size = size_of_val(&attributes);
        let program = open(libc::SYS_bpf, [PROG_LOAD, at(&attributes), size])?;
        let attributes = [0, program.as_raw_fd() as u64];
        let size = size_of_val(&attributes);
        // The link holds the program.
        Ok(Self { _link: open(libc::SYS_bpf, [RAW_TRACEPOINT_OPEN, at(&attributes), size])? })
    }
}
