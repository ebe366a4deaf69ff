//! One boot of one kernel: QEMU without acceleration or network, one command, its exit code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::initramfs::{self, Placed};
use crate::kernel::{self, Kernel};
use crate::setup;

/// Exit code of a boot that did not end in time, as `timeout(1)` has it.
const TIMED_OUT: u8 = 124;
/// Size of a guest's disk.
const DISK_BYTES: u64 = 64 << 20;
/// Lines of the console that are shown when a boot fails.
const CONSOLE_TAIL: usize = 40;

/// Arguments of `cargo xtask vm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A kernel of tests/kernels.toml, or "all".
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Added to the kernel's command line.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Puts a file into the guest; may be given several times.
    #[arg(long = "file", value_name = "FROM=TO", value_parser = placed)]
    files: Vec<Placed>,
    /// Seconds until the guest is given up.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Memory of the guest.
    #[arg(long, value_name = "MIB", default_value_t = 1536)]
    memory: u32,
    /// Puts what `cargo xtask build` makes into the guest's /krsi.
    #[arg(long)]
    with_build: bool,
    /// Lets the guest's clock count instructions, one nanosecond each, on one CPU.
    #[arg(long)]
    count_instructions: bool,
    /// Gives the guest an empty ext4 file system, /dev/nvme0n1, whose files may have fs-verity digests.
    #[arg(long)]
    disk: bool,
    /// The command and its arguments.
    #[arg(last = true, default_values = ["uname", "-a"])]
    command: Vec<String>,
}

/// Kernel, machine and command of a boot.
pub(crate) struct Boot<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) append: &'a str,
    pub(crate) files: &'a [Placed],
    pub(crate) command: &'a [String],
    pub(crate) timeout: Duration,
    pub(crate) memory_mib: u32,
    pub(crate) clock: Clock,
    /// Whether there is a disk.
    pub(crate) disk: bool,
}

/// What the guest's clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Time as the machine has it.
    Time,
    /// Instructions, a nanosecond each; such a guest has one CPU.
    Instructions,
}

fn placed(text: &str) -> Result<Placed, String> {
    let (from, to) = text.split_once('=').ok_or("is not FROM=TO")?;
    Ok(Placed { from: from.into(), to: to.into() })
}

/// `cargo xtask vm`.
pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    setup::tools()?;
    let mut files = args.files.clone();
    if args.with_build {
        files.extend(crate::artefact::build(root)?.files());
    }
    let kernels = kernel::named(root, &args.kernel)?;
    let mut last = 0;
    for kernel in &kernels {
        let code = boot(
            root,
            &Boot {
                kernel,
                append: &args.append,
                files: &files,
                command: &args.command,
                timeout: Duration::from_secs(args.timeout),
                memory_mib: args.memory,
                clock: if args.count_instructions { Clock::Instructions } else { Clock::Time },
                disk: args.disk,
            },
        )?;
        last = if code == 0 { last } else { code };
    }
    Ok(ExitCode::from(last))
}

/// Boots, streams the command's output to standard output, returns its exit code.
pub(crate) fn boot(root: &Path, boot: &Boot<'_>) -> anyhow::Result<u8> {
    let image = kernel::ensure(boot.kernel, false)?;
    let folder = Scratch::new(root)?;
    let initramfs = folder.path("initramfs");
    initramfs::write(&initramfs, boot.files, boot.command)?;
    if boot.disk {
        // Kept sparse; fs-verity wants blocks of a page.
        fs::File::create(folder.path("disk"))?.set_len(DISK_BYTES)?;
        let mut make = Command::new(setup::MAKE_EXT4);
        make.args(["-q", "-t", "ext4", "-O", "verity", "-b", "4096"]).arg(folder.path("disk"));
        setup::run_quietly(&mut make)?;
    }
    let mut qemu =
        qemu(boot, &image.vmlinuz, &folder).spawn().context("starting qemu-system-x86_64")?;
    let ended = wait(&mut qemu, boot.timeout)?;
    let status = fs::read_to_string(folder.path("status")).unwrap_or_default();
    match (ended, status.trim().parse::<u8>()) {
        (true, Ok(code)) => Ok(code),
        (ended, _) => {
            let what = if ended { "ended without a status" } else { "hung and was killed" };
            eprintln!("xtask: kernel {} {what}; its console ends with", boot.kernel.name);
            eprintln!("{}", tail(&folder.path("console")));
            if ended {
                bail!("the guest of kernel {} crashed", boot.kernel.name)
            }
            Ok(TIMED_OUT)
        }
    }
}

fn qemu(boot: &Boot<'_>, vmlinuz: &Path, folder: &Scratch) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    // thread=multi crashes guests that attach hooks while another CPU runs through them.
    qemu.args(["-accel", "tcg,thread=single"]);
    match boot.clock {
        // Emulated, a repeated string instruction goes byte by byte: a kernel that is told of none
        // that are fast copies by words, and verifies programs in 60 % of the time.
        // Checks of each access to user memory and a fifth level of page tables cost time too.
        Clock::Time => qemu.args(["-cpu", "max,-erms,-fsrm,-smap,-smep,-la57", "-smp", "2"]),
        Clock::Instructions => {
            qemu.args(["-cpu", "max", "-smp", "1", "-icount", "shift=0,sleep=off"])
        }
    };
    qemu.args(["-m", &boot.memory_mib.to_string()]);
    qemu.args(["-nodefaults", "-nic", "none", "-no-reboot", "-display", "none"]);
    qemu.args(["-serial", &format!("file:{}", folder.path("console").display())]);
    qemu.args(["-chardev", "stdio,id=out,signal=off", "-serial", "chardev:out"]);
    qemu.args(["-serial", &format!("file:{}", folder.path("status").display())]);
    qemu.arg("-kernel").arg(vmlinuz).arg("-initrd").arg(folder.path("initramfs"));
    if boot.disk {
        let file = folder.path("disk");
        qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,file={}", file.display()));
        qemu.args(["-device", "nvme,serial=krsi,drive=disk"]);
    }
    // A busy machine misses the kernel's check of its timer by a moment, and the kernel then gives up.
    // An emulated processor does not speculate: mitigations would only cost time.
    // Before 6.12 a kernel would take the clock of the two CPUs for unsynchronised and ask the slow HPET.
    let fixed =
        "console=ttyS0 panic=-1 quiet loglevel=4 no_timer_check mitigations=off tsc=reliable";
    qemu.args(["-append", &format!("{fixed} {} {}", boot.kernel.append, boot.append)]);
    qemu.stdin(Stdio::null());
    qemu
}

/// True when the guest ended by itself.
fn wait(qemu: &mut Child, timeout: Duration) -> anyhow::Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        if qemu.try_wait()?.is_some() {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            qemu.kill()?;
            qemu.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(CONSOLE_TAIL)..).unwrap_or(&lines).join("\n")
}

/// A folder of one boot, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(root: &Path) -> anyhow::Result<Self> {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let path = root.join("target/vm").join(format!("{}-{nanos}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind lies below target/ and harms nobody.
        let _removed = fs::remove_dir_all(&self.0);
    }
}
