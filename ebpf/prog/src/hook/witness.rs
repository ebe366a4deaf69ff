//! The witness: what the LSMs together answered to a call, whoever decided it.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use krsi_host_abi::counter::Counter;

use crate::{capture, map, offset};

/// After `security_*`: the answer stands behind the arguments. It counts, and refuses nothing.
#[fexit(function = "witness")]
pub fn witness(ctx: FExitContext) -> i32 {
    if capture::tgid() == offset::host_tgid() {
        return 0;
    }
    let (slot, at) = offset::witness();
    let Some(counts) = map::counts(slot) else { return 0 };
    counts.add(Counter::Witnessed);
    if answer(&ctx, at) < 0 {
        counts.add(Counter::WitnessedRefused);
    }
    0
}

/// The `int` that the function returned (`BPF_TRACE_FEXIT` in `kernel/bpf/btf.c`): 0, or a negative
/// errno.
#[inline(always)]
fn answer(ctx: &FExitContext, at: u32) -> i32 {
    let ctx = ctx.as_ptr().cast::<u64>().cast_const();
    let answer = match at {
        0 => capture::argument::<0>(ctx),
        1 => capture::argument::<1>(ctx),
        2 => capture::argument::<2>(ctx),
        3 => capture::argument::<3>(ctx),
        4 => capture::argument::<4>(ctx),
        5 => capture::argument::<5>(ctx),
        _ => capture::argument::<6>(ctx),
    };
    answer as usize as i32
}
