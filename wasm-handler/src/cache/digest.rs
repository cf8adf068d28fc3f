//! The name of a module: the sha256 of its bytes.
//!
//! Always of the bytes, never of (device, inode, times): those of a FUSE or network file system say what its
//! author likes, device numbers are reused, and an index by them could be filled by one image and read for another.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use sha2::{Digest as _, Sha256};

use super::MAX_MODULE;

/// Fits the second-level cache, so that hashing reads what was just copied from there.
const CHUNK: usize = 128 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(pub(super) [u8; 32]);

impl Digest {
    pub(super) fn of_parts(parts: &[&[u8]]) -> Digest {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        Digest(hash.finalize().into())
    }

    pub(super) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The digest of a file's content; the descriptor's position stays where it is.
pub(super) fn of_file(file: impl AsFd) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    for_each_chunk(file, |chunk| {
        hash.update(chunk);
        Ok(())
    })?;
    Ok(Digest(hash.finalize().into()))
}

/// A copy that nobody can change any more, and its digest.
pub(super) fn frozen_copy(file: impl AsFd) -> io::Result<(File, Digest)> {
    let mut copy = File::from(memfd_create(
        "tandem-module",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?);
    let mut hash = Sha256::new();
    for_each_chunk(file, |chunk| {
        hash.update(chunk);
        copy.write_all(chunk)
    })?;
    fcntl_add_seals(
        &copy,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    copy.rewind()?;
    Ok((copy, Digest(hash.finalize().into())))
}

fn for_each_chunk(
    file: impl AsFd,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        match rustix::io::pread(&file, &mut buffer, offset) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                each(&buffer[..count])?;
                offset += count as u64;
                // Its length was looked at before; this one is still being written.
                if offset > MAX_MODULE {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_frozen_copy_have_one_digest() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 3 * CHUNK + 5]).unwrap();
        let seen = of_file(&file).unwrap();
        let (mut copy, digest) = frozen_copy(&file).unwrap();
        assert_eq!(seen, digest);
        assert_eq!(of_file(&copy).unwrap(), digest);
        assert!(copy.write_all(b"x").is_err());
    }

    #[test]
    fn the_digest_is_sha256() {
        // FIPS 180-2, appendix B.1.
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        assert_eq!(
            of_file(&file).unwrap().hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
