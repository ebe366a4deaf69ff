//! Buffers between two uses, bounded in bytes.

use std::sync::{Mutex, PoisonError};

/// Capacity of all buffers that wait for their next use.
const POOL_BYTES: usize = 2 << 20;
/// A buffer that grew beyond is freed: one burst of long records must not stay for ever.
const BUFFER_BYTES: usize = POOL_BYTES / 8;

/// Buffers of batches that all readers are done with, so that none is allocated under load.
#[derive(Debug, Default)]
pub struct BufferPool(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    /// Capacity of all buffers together, bytes.
    bytes: usize,
}

impl BufferPool {
    /// An empty buffer, used before if there is one, for about so many bytes.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = kept.buffers.pop().unwrap_or_default();
        kept.bytes -= buffer.capacity();
        drop(kept);
        buffer.reserve(bytes.min(BUFFER_BYTES));
        buffer
    }

    /// Keeps a buffer for its next use, or frees it.
    pub fn give(&self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if (1..=BUFFER_BYTES).contains(&bytes) && kept.bytes + bytes <= POOL_BYTES {
            buffer.clear();
            kept.bytes += bytes;
            kept.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let pool = BufferPool::default();
        let kept = |pool: &BufferPool| {
            let kept = pool.0.lock().unwrap();
            assert_eq!(kept.bytes, kept.buffers.iter().map(Vec::capacity).sum::<usize>());
            (kept.buffers.len(), kept.bytes)
        };
        pool.give(Vec::with_capacity(BUFFER_BYTES + 1));
        pool.give(Vec::new());
        assert_eq!(kept(&pool), (0, 0));
        (0..100).for_each(|_| pool.give(Vec::with_capacity(BUFFER_BYTES)));
        assert_eq!(kept(&pool), (POOL_BYTES / BUFFER_BYTES, POOL_BYTES));
        assert_eq!(pool.take(0).capacity(), BUFFER_BYTES);
        pool.give(vec![1; 100]);
        assert!(pool.take(0).is_empty());
        while pool.take(0).capacity() > 0 {}
        assert_eq!(kept(&pool), (0, 0));
    }
}
