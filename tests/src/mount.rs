//! A file system of its own for a test: an ext4 in a file, mounted over a loop device. It can be filled, and
//! its device counts what is written.

use crate::need::missing;
use crate::process::output;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A mounted image; unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    point: PathBuf,
    device: String,
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let path = crate::need::program(program).with_context(|| format!("{program} is not installed"))?;
    let output = output(Command::new(path).args(arguments), LIMIT)?;
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}: {err}", arguments.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

impl Mount {
    /// Why nothing can be mounted here; `None` if it can.
    #[must_use]
    pub fn missing() -> Option<String> {
        if let Some(why) = missing(&["mkfs.ext4", "mount", "umount", "losetup", "sync"]) {
            return Some(why);
        }
        let root = nix::unistd::geteuid().is_root();
        let loops = root && run("losetup", &["--find"]).is_ok();
        (!loops).then(|| "loop devices need root".to_owned())
    }

    /// Makes an ext4 of so many MiB in `image` and mounts it at `point`, with mode 0700.
    ///
    /// # Errors
    /// What the system says.
    pub fn ext4(image: &Path, point: &Path, mib: u64) -> Result<Self> {
        std::fs::create_dir_all(point)?;
        std::fs::File::create(image)?.set_len(mib << 20)?;
        run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-m", "0", text(image)?])?;
        let device = run("losetup", &["--find", "--show", text(image)?])?;
        let mounted = Self { point: point.to_path_buf(), device };
        run("mount", &["-t", "ext4", &mounted.device, text(point)?])?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(point, mode)?;
        Ok(mounted)
    }

    /// Takes all space that is left, by a file there.
    ///
    /// # Errors
    /// What the system says.
    pub fn fill(&self, file: &Path) -> Result<()> {
        use std::io::Write as _;
        let mut hog = std::fs::File::create(file)?;
        for piece in [1 << 20, 4096, 1] {
            let bytes = vec![0x48; piece];
            while hog.write_all(&bytes).and_then(|()| hog.sync_data()).is_ok() {}
        }
        Ok(())
    }

    /// Bytes that its device has written since it was made; all that is still in memory is written first.
    ///
    /// # Errors
    /// What the system says.
    pub fn written(&self) -> Result<u64> {
        run("sync", &["--file-system", text(&self.point)?])?;
        let name = self.device.rsplit('/').next().unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat"))?;
        // Documentation/block/stat.rst: the seventh is sectors written, of 512 bytes whatever the device.
        let sectors: u64 = stat.split_whitespace().nth(6).context("no seventh figure")?.parse()?;
        Ok(sectors * 512)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let point = self.point.to_string_lossy().into_owned();
        let _ = run("umount", &[&point]).or_else(|_| run("umount", &["--lazy", &point]));
        let _ = run("losetup", &["--detach", &self.device]);
    }
}
