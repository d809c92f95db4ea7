//! The folder of the state, the keys in it, the control socket: who may read and write them.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::Finding;
use crate::config::Config;
use crate::key_store::pem::PemError;
use crate::key_store::{KeyError, KeyStore, thumb};
use crate::policy_store;
use crate::sealer::StrictVerifier;
use crate::store::files::FileError;
use glovebox_core::control::{Control, Enrolment, Owners, Refusal, Stored};
use glovebox_core::names::VerifyingKey;

pub(super) fn state(config: &Config) -> Vec<Finding> {
    let folder = &config.health.state;
    let mut findings = vec![state_folder(folder)];
    findings.extend(foreign_entry(folder));
    findings
}

/// The folder of all state: whoever else may write there could put an older store in its place.
fn state_folder(folder: &Path) -> Finding {
    let shown = folder.display();
    let metadata = match std::fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) => {
            let what = format!("state folder {shown}: {error}");
            return Finding::warn(
                "health",
                what,
                "`glovebox provision` makes it, or systemd with the service",
            );
        }
    };
    let mode = metadata.mode() & 0o777;
    if !metadata.is_dir() {
        return Finding::fail("health", format!("{shown} is no folder"), "correct `health.state`");
    }
    if access(folder, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        let what = format!("state folder {shown} cannot be read and written by this user");
        return Finding::fail("health", what, "run as the agent's user, or correct the owner of the folder");
    }
    if mode & 0o022 != 0 {
        let what = format!("state folder {shown} has rights {mode:03o}: others may write");
        return Finding::fail("health", what, format!("chmod 700 {shown}"));
    }
    if mode & 0o055 != 0 {
        let what = format!("state folder {shown} has rights {mode:03o}: others may look");
        return Finding::warn("health", what, format!("chmod 700 {shown}"));
    }
    Finding::ok("health", format!("state folder {shown} is closed to others"))
}

/// What `provision` run by root leaves behind: the agent's own user cannot read it.
fn foreign_entry(folder: &Path) -> Option<Finding> {
    let owner = std::fs::metadata(folder).ok()?.uid();
    let inside = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let entries = inside(folder);
    let deeper = entries.iter().flat_map(|entry| inside(entry));
    let foreign = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok_and(|entry| entry.uid() != owner);
    let first = entries.iter().cloned().chain(deeper).find(foreign)?;
    Some(Finding::fail(
        "health",
        format!("{} belongs to another user than {}", first.display(), folder.display()),
        format!("chown -R --reference={0} {0}", folder.display()),
    ))
}

/// Whether somebody is enrolled, and whether all keys can be read.
pub(super) fn keys(config: &Config) -> Vec<Finding> {
    let all = KeyStore::open(&config.health.state.join("keys"))
        .and_then(|keys| Ok((owners_of(config, &keys)?, keys.pin_key())));
    match all {
        Ok((Some((owners, refused)), pin)) => enrolled(&owners.keys(), &refused, pin),
        Ok((None, _)) | Err(KeyError::NotProvisioned { .. }) => vec![Finding::fail(
            "consent",
            "no owner is enrolled: the agent does not start without its keys, and nothing can be granted",
            "glovebox provision --authority A.pub --owner O.pub",
        )],
        Err(error) => {
            let mend = mend(&error);
            vec![Finding::fail("consent", error, mend)]
        }
    }
}

/// To erase ends every grant: that is the last thing to try.
const RESTORE: &str = "put back the file from a backup; only if there is none, begin again: glovebox erase";

fn mend(error: &KeyError) -> &'static str {
    let file = match error {
        KeyError::File(file) | KeyError::Pem(PemError::File(file)) => Some(file),
        _ => None,
    };
    match (file, error) {
        (Some(FileError::Open { .. }), _) => {
            "set that mode, and ask who could have read or changed it meanwhile"
        }
        (Some(FileError::Io { source, .. }), _) if source.kind() != ErrorKind::NotFound => {
            "see that this user may read it; is the disk well?"
        }
        (_, KeyError::Busy { .. }) => "try again when it has ended",
        (_, KeyError::Pin(_)) => "the other keys, and all that is granted, are not touched by that",
        _ => RESTORE,
    }
}

/// Who may widen by what lies here, and what of it does not verify; `None` before the car is provisioned.
fn owners_of(config: &Config, keys: &KeyStore) -> Result<Option<(Owners, Vec<Refusal>)>, KeyError> {
    let owners = keys.owners()?;
    if owners.is_empty() {
        return Ok(None);
    }
    keys.alias()?;
    let record_key = VerifyingKey(keys.record_key()?.verifying_key().to_bytes());
    let device = config.consent.device.clone();
    let enrolment = Enrolment { device, groups: Vec::new(), root: Some(keys.root()?), owners, record_key };
    let enrolments = policy_store::enrolments(&config.health.state)?;
    let stored = Stored { enrolments, ..Stored::default() };
    let (control, refused) = Control::restore(enrolment, stored, &|_| None, &StrictVerifier);
    Ok(Some((control.owners().clone(), refused)))
}

fn enrolled(
    owners: &[VerifyingKey],
    refused: &[Refusal],
    pin: Result<Option<VerifyingKey>, KeyError>,
) -> Vec<Finding> {
    let damaged = |error: &dyn std::fmt::Display| Finding::warn("consent", error, RESTORE);
    let mut findings: Vec<Finding> = refused.iter().map(|refusal| damaged(refusal)).collect();
    if !owners.is_empty() {
        findings.push(Finding::ok("consent", format!("{} owner key(s) enrolled", owners.len())));
    }
    match pin {
        Ok(None) => {}
        Ok(Some(pin)) if owners.contains(&pin) => {
            let what = format!("a PIN is set: it opens the owner key {}", thumb(&pin));
            findings.push(Finding::ok("consent", what));
        }
        Ok(Some(_)) => findings.push(Finding::warn(
            "consent",
            "a PIN is set, and the key that it opens is not enrolled: it can grant nothing",
            "glovebox owner pin --key OWNER.key, or install the enrolment that was drafted",
        )),
        Err(error) => findings.push(Finding::warn("consent", &error, mend(&error))),
    }
    findings
}

pub(super) fn socket(config: &Config) -> Vec<Finding> {
    let folder = config.health.control_socket.parent();
    let missing = folder.filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir());
    let finding = |folder: &Path| {
        Finding::warn(
            "health",
            format!("{}, the folder of the control socket, is not there yet", folder.display()),
            "systemd makes it with the service; else make it yourself",
        )
    };
    missing.map(finding).into_iter().collect()
}
