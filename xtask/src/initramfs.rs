//! The guest's file system: a static shell, an init that runs one command, and the given files.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use cpio::{NewcBuilder, newc};

use crate::setup;

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;

/// Serial ports: kernel console, the command's output, its exit status.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin:/krsi HOME=/root TERM=${TERM:-dumb}
/bin/busybox mkdir -p /proc /sys /dev /tmp /root /run /mnt /etc
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mkdir -p /dev/shm /dev/pts
/bin/busybox mount -t devpts pts /dev/pts
/bin/busybox mount -t securityfs security /sys/kernel/security
/bin/busybox mount -t cgroup2 cgroup /sys/fs/cgroup
/bin/busybox mount -t bpf bpf /sys/fs/bpf
/bin/busybox mount -t debugfs debug /sys/kernel/debug
/bin/busybox mount -t tracefs trace /sys/kernel/tracing
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox mount -t tmpfs shm /dev/shm
/bin/busybox --install -s /bin
exec >/dev/ttyS0 2>&1
hostname guest
ip link set lo up
stty -F /dev/ttyS1 raw -echo
cd /root
# By a signal a test has PID 1 itself open files.
trap 'read -r word </tmp/init-reads && echo "$word" >/tmp/init-writes' USR1
sh /krsi/command </dev/null >/dev/ttyS1 2>&1 &
command=$!
while :; do
    wait $command
    status=$?
    kill -0 $command 2>/dev/null || break
done
stty -F /dev/ttyS2 raw -echo
echo $status >/dev/ttyS2
poweroff -f
"#;

/// A file of the host and where it goes in the guest.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) from: std::path::PathBuf,
    pub(crate) to: String,
}

/// Writes the archive.
pub(crate) fn write(out: &Path, files: &[Placed], command: &[String]) -> anyhow::Result<()> {
    let mut archive = Archive { bytes: Vec::new(), folders: BTreeSet::new(), inode: 0 };
    archive.add("bin/busybox", EXECUTABLE, &read(&setup::busybox())?)?;
    archive.add("bin/sh", SYMLINK, b"busybox")?;
    archive.add("init", EXECUTABLE, INIT.as_bytes())?;
    archive.add("krsi/command", EXECUTABLE, script(command).as_bytes())?;
    for file in files {
        let mode = fs::metadata(&file.from)?.permissions().mode() & 0o777;
        archive.add(file.to.trim_start_matches('/'), 0o100_000 | mode, &read(&file.from)?)?;
    }
    let bytes = newc::trailer(archive.bytes)?;
    fs::write(out, bytes).with_context(|| out.display().to_string())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

/// The command as a script, each word quoted.
fn script(command: &[String]) -> String {
    let quoted = command.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    format!("exec {}\n", quoted.collect::<Vec<_>>().join(" "))
}

struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    inode: u32,
}

impl Archive {
    fn add(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        let parents: Vec<&str> =
            path.match_indices('/').filter_map(|(at, _)| path.get(..at)).collect();
        for parent in parents {
            if self.folders.insert(parent.to_owned()) {
                self.entry(parent, DIRECTORY, &[])?;
            }
        }
        self.entry(path, mode, content)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len()).with_context(|| format!("{path} is too large"))?;
        let out = Cursor::new(std::mem::take(&mut self.bytes));
        let mut out = out;
        out.set_position(out.get_ref().len() as u64);
        let builder = NewcBuilder::new(path).mode(mode).ino(self.inode).nlink(1);
        let mut writer = builder.write(out, size);
        writer.write_all(content)?;
        self.bytes = writer.finish()?.into_inner();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::script;

    #[test]
    fn words_reach_the_guest_unchanged() {
        let words = ["sh", "-c", "echo 'a b' $HOME"].map(str::to_owned);
        assert_eq!(script(&words), "exec 'sh' '-c' 'echo '\\''a b'\\'' $HOME'\n");
    }
}
