//! An entry on disk: the compiler's output and behind it a trailer that tells a whole one from a damaged one.
//!
//! Behind and not before, because engines map the file and expect their own header at its start. The trailer is
//! checked on every start, so it covers the length and the two ends of the code rather than all of it: that
//! finds what happens to files (cut short, emptied, overwritten from the start, another file put in its place) for
//! the price of two pages. An engine checks its own header besides.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::digest::Digest;

const MAGIC: &[u8; 8] = b"TANDEM\0\x01";
const TRAILER: usize = 8 + 8 + 32 + 32;
const EDGE: u64 = 4096;

/// Writes `code` with its trailer into the empty `file`.
pub(super) fn write(mut code: &File, file: &mut File, module: &Digest) -> io::Result<()> {
    let length = io::copy(&mut code, file)?;
    file.write_all(&trailer(file, length, module)?)
}

/// Whether `file` is the whole entry of `module`.
pub(super) fn is_whole(file: &File, module: &Digest) -> io::Result<bool> {
    let total = file.metadata()?.len();
    let Some(length) = total.checked_sub(TRAILER as u64) else {
        return Ok(false);
    };
    let mut found = [0; TRAILER];
    file.read_exact_at(&mut found, length)?;
    // Before the ends are read at all: an entry of some other format needs no second look.
    if !found.starts_with(MAGIC) {
        return Ok(false);
    }
    Ok(found == trailer(file, length, module)?)
}

fn trailer(file: &File, length: u64, module: &Digest) -> io::Result<[u8; TRAILER]> {
    let edge = length.min(EDGE);
    let (mut first, mut last) = (vec![0; edge as usize], vec![0; edge as usize]);
    file.read_exact_at(&mut first, 0)?;
    file.read_exact_at(&mut last, length - edge)?;
    let ends = Digest::of_parts(&[&first, &last]);
    let mut trailer = [0; TRAILER];
    trailer[..8].copy_from_slice(MAGIC);
    trailer[8..16].copy_from_slice(&length.to_le_bytes());
    trailer[16..48].copy_from_slice(&module.0);
    trailer[48..].copy_from_slice(&ends.0);
    Ok(trailer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;

    const MODULE: Digest = Digest([5; 32]);

    fn entry_of(length: usize) -> File {
        let (mut code, mut file) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let bytes: Vec<u8> = (0..length).map(|i| i as u8).collect();
        code.write_all(&bytes).unwrap();
        code.rewind().unwrap();
        write(&code, &mut file, &MODULE).unwrap();
        file
    }

    #[test]
    fn a_written_entry_is_whole_whatever_its_length() {
        for length in [0, 1, 4095, 4096, 4097, 8192, 100_000] {
            assert!(is_whole(&entry_of(length), &MODULE).unwrap(), "{length}");
        }
    }

    #[test]
    fn an_entry_under_another_name_is_not_whole() {
        assert!(!is_whole(&entry_of(5000), &Digest([6; 32])).unwrap());
    }

    #[test]
    fn a_cut_emptied_or_overwritten_entry_is_not_whole() {
        let damages: [fn(&File); 4] = [
            |file| file.set_len(0).unwrap(),
            |file| file.set_len(50_000).unwrap(),
            |file| file.set_len(200_000).unwrap(),
            |file| file.write_all_at(b"garbage", 0).unwrap(),
        ];
        for (number, damage) in damages.iter().enumerate() {
            let file = entry_of(100_000);
            damage(&file);
            assert!(!is_whole(&file, &MODULE).unwrap(), "damage {number}");
        }
    }
}
