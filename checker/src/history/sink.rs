//! A file that is written from its front to its end, past the page cache where the system allows.
//!
//! A history is as long as its run and nobody reads it before the run is over. In the page cache it
//! would take the memory that the measured processes could have, and the kernel would copy every
//! byte into pages that it has to find first: on a virtual machine, where memory that was never
//! touched must be fetched from the host, this took a fifth of the machine's time. So full pieces go
//! to the disk straight from one aligned buffer that is used again (`O_DIRECT`). A disk that falls
//! behind gets the page cache to catch up with, and so does a file system that knows no other way.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Bytes that are written at a time.
const PIECE_BYTES: usize = 1 << 20;
/// What addresses and lengths must be multiples of: no disk has larger sectors.
const ALIGNMENT_BYTES: usize = 4096;

const _: () = assert!(PIECE_BYTES.is_multiple_of(ALIGNMENT_BYTES));

/// A file that grows at its end.
#[derive(Debug)]
pub(crate) struct Sink {
    file: File,
    /// A piece, behind what comes before the first aligned address.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    written: u64,
    is_direct: bool,
}

impl Sink {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    ///
    /// When it can't be created.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let (file, is_direct) = match direct::create(path) {
            Ok(file) => (file, true),
            Err(_) => (File::create(path)?, false),
        };
        let buffer = vec![0; PIECE_BYTES + ALIGNMENT_BYTES];
        let start = buffer.as_ptr().align_offset(ALIGNMENT_BYTES);
        Ok(Self { file, buffer, start, filled: 0, written: 0, is_direct })
    }

    /// Appends bytes; they are on their way to the disk once a piece is full.
    ///
    /// # Errors
    ///
    /// When a full piece can't be written.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.filled));
            let at = self.start + self.filled;
            self.buffer[at..at + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == PIECE_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// From now on, what is written goes through the page cache, which takes it sooner than the disk.
    pub(crate) fn use_page_cache(&mut self) -> io::Result<()> {
        if self.is_direct {
            direct::leave(&self.file)?;
            self.is_direct = false;
        }
        Ok(())
    }

    /// Writes what is left; the file is then whole.
    ///
    /// # Errors
    ///
    /// When it can't be written.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        // The rest need not fill a sector.
        self.use_page_cache()?;
        self.flush()?;
        Ok(self.written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        while done < self.filled {
            match self.file.write(&self.buffer[self.start + done..self.start + self.filled]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Some file systems say only now that they can't, or can't go on amid a sector.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput && self.is_direct => {
                    self.use_page_cache()?;
                }
                Err(error) => return Err(error),
            }
        }
        self.written += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod direct {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    pub(super) fn create(path: &Path) -> io::Result<File> {
        let flag = OFlags::DIRECT.bits().cast_signed();
        File::options().write(true).create(true).truncate(true).custom_flags(flag).open(path)
    }

    pub(super) fn leave(file: &File) -> io::Result<()> {
        Ok(fcntl_setfl(file, fcntl_getfl(file)? - OFlags::DIRECT)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod direct {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(super) fn create(_path: &Path) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn leave(_file: &File) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Folder;

    /// Bytes that differ from place to place.
    fn bytes(range: std::ops::Range<usize>) -> Vec<u8> {
        range.map(|index| ((index * 31) >> 3) as u8).collect()
    }

    #[test]
    fn what_is_written_in_bits_is_one_file() {
        let folder = Folder::new();
        let path = folder.path("file");
        std::fs::write(&path, "what was there before, and is gone").unwrap();
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 77] {
            let mut sink = Sink::create(&path).unwrap();
            for start in (0..length).step_by(300_001) {
                if start > 2 * PIECE_BYTES {
                    sink.use_page_cache().unwrap();
                }
                sink.write(&bytes(start..length.min(start + 300_001))).unwrap();
            }
            assert_eq!(sink.finish().unwrap(), length as u64);
            assert!(std::fs::read(&path).unwrap() == bytes(0..length), "{length} bytes");
        }
    }

    #[test]
    fn a_file_that_can_not_be_made_is_an_error() {
        let folder = Folder::new();
        assert!(Sink::create(&folder.path("no/such/folder")).is_err());
    }

    #[test]
    fn a_full_disk_is_an_error_even_for_the_rest() {
        let Ok(mut sink) = Sink::create(Path::new("/dev/full")) else { return };
        sink.write(b"a few bytes").unwrap();
        assert_eq!(sink.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
