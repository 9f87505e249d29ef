//! Puts the dropped end of a log aside, where it can be looked at, and keeps a bounded number of such files.

use super::format::Position;
use super::segments;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Most files kept; older ones go.
const FILES_MAX: usize = 8;
const SUFFIX: &str = ".dropped";

/// Cuts a log at a position: what is behind is in the returned files, and no part of the log any more once this returns.
/// A segment of which nothing but its header would be left goes as a whole.
pub(super) fn from(
    directory: &Path,
    present: &[u32],
    from: Position,
    header_bytes: u32,
) -> io::Result<Vec<PathBuf>> {
    let mut number = list(directory)?.last().map_or(0, |(number, _)| number + 1);
    let mut files = Vec::new();
    // From the end, so that a crash in between leaves a log that ends somewhere.
    for segment in present.iter().copied().filter(|segment| *segment >= from.segment).rev() {
        let path = segments::path(directory, segment);
        let aside = directory.join(format!("{number:010}-segment-{segment:010}{SUFFIX}"));
        if segment > from.segment || from.offset < header_bytes {
            std::fs::rename(&path, &aside)?;
        } else if !cut(&path, &aside, from.offset)? {
            continue;
        }
        files.push(aside);
        number += 1;
    }
    let kept = list(directory)?;
    for (_, old) in &kept[..kept.len().saturating_sub(FILES_MAX)] {
        std::fs::remove_file(old)?;
        files.retain(|file| file != old);
    }
    File::open(directory)?.sync_all()?;
    Ok(files)
}

/// Moves the end of a file into another; `false` when there is nothing to move.
fn cut(path: &Path, aside: &Path, offset: u32) -> io::Result<bool> {
    let mut file = File::options().read(true).write(true).open(path)?;
    if file.metadata()?.len() <= u64::from(offset) {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(u64::from(offset)))?;
    io::copy(&mut Read::by_ref(&mut file), &mut File::create(aside)?)?;
    file.set_len(u64::from(offset))?;
    file.sync_all()?;
    Ok(true)
}

/// What was put aside, oldest first.
fn list(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(SUFFIX));
        let number = name.and_then(|name| name.split_once('-')?.0.parse().ok());
        files.extend(number.map(|number| (number, path.clone())));
    }
    files.sort_unstable();
    Ok(files)
}
