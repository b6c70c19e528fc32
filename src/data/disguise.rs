//! Files that stand where others should: what repositories and servers give in place of a file.

/// Whether a file begins as Git LFS' pointers do.
#[must_use]
pub fn is_pointer(bytes: &[u8]) -> bool {
    begins(bytes, b"version https://git-lfs")
}

/// Whether a file begins as web pages do.
#[must_use]
pub fn is_page(bytes: &[u8]) -> bool {
    begins(bytes, b"<!doct") || begins(bytes, b"<html")
}

/// Whether a file begins with these letters, large or small, behind what is blank.
#[must_use]
pub fn begins(bytes: &[u8], letters: &[u8]) -> bool {
    bytes.trim_ascii_start().get(..letters.len()).is_some_and(|start| start.eq_ignore_ascii_case(letters))
}
