//! An allocator that tells what it hands out: for tests of how much memory is in use.
#![allow(unsafe_code, reason = "what it counts is what is tested")]

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator; the function hears of bytes taken, and of bytes given back as a negative number.
pub(crate) struct Counting(pub(crate) fn(i64));

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        (self.0)(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        (self.0)(-(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}
