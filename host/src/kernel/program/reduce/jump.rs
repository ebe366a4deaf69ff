//! Takes out jumps that change nothing, and what no way from the entry leads to.

use super::code::{Flow, ProgramCode};

impl ProgramCode {
    /// Takes out jumps to the operation that comes next anyway; whether there were any.
    pub(super) fn drop_jumps_to_next(&mut self) -> bool {
        let mut changed = false;
        // What comes next once those behind have been looked at.
        let mut next = vec![self.ops.len(); self.ops.len() + 1];
        for at in (0..self.ops.len()).rev() {
            let after = next.get(at + 1).copied().unwrap_or(usize::MAX);
            let Some(op) = self.ops.get_mut(at) else { continue };
            let leads = match op.flow() {
                Flow::Jump(target) | Flow::Branch(target) => next.get(target).copied(),
                _ => None,
            };
            // A jump backwards is not known yet, and never one to the next.
            if !op.gone && leads == Some(after) && op.target.is_some_and(|target| target > at) {
                op.gone = true;
                changed = true;
            }
            let gone = op.gone;
            if let Some(slot) = next.get_mut(at) {
                *slot = if gone { after } else { at };
            }
        }
        changed
    }

    /// Takes out what no way from the entry leads to, which the verifier refuses; whether there was any.
    pub(super) fn drop_unreachable(&mut self) -> bool {
        let mut reached = vec![false; self.ops.len()];
        let mut waiting = vec![0];
        while let Some(at) = waiting.pop() {
            let (Some(op), Some(slot)) = (self.ops.get(at), reached.get_mut(at)) else { continue };
            if std::mem::replace(slot, true) {
                continue;
            }
            let goes_on = op.gone || !matches!(op.flow(), Flow::Exit | Flow::Jump(_));
            waiting.extend(goes_on.then_some(at + 1));
            waiting.extend(op.target.filter(|_| !op.gone));
        }
        let mut changed = false;
        for (op, reached) in self.ops.iter_mut().zip(reached) {
            changed |= !reached && !op.gone;
            op.gone |= !reached;
        }
        changed
    }
}
