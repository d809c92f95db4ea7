//! What is wrong with a configuration: where, what, and how to mend it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place in a configuration file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<Path>,
    /// Line and column; `None` if the whole file is meant.
    pub position: Option<(usize, usize)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}", self.file.display()),
            None => write!(f, "{}", self.file.display()),
        }
    }
}

/// One fault with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.kind, self.kind.mend())
    }
}

/// What is wrong. Values are shown where they cannot be secret.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FaultKind {
    /// A configuration file that cannot be read.
    #[error("the configuration cannot be read: {reason}")]
    Unreadable {
        /// The system's words.
        reason: String,
    },
    /// A configuration file above the bound.
    #[error("the configuration has {bytes} bytes, at most {max} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// More files than are read together.
    #[error("{count} configuration files, at most {max} are read together")]
    TooManyFiles {
        /// How many there are.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("a byte that is not UTF-8")]
    NotUtf8,
    /// Not TOML.
    #[error("not TOML: {message}")]
    Syntax {
        /// The parser's words.
        message: String,
    },
    /// A key or a section that does not exist.
    #[error("`{key}` is unknown")]
    Unknown {
        /// The whole key.
        key: String,
        /// What was meant, or what there is.
        hint: Hint,
    },
    /// A value of another type.
    #[error("`{key}` is {found}")]
    WrongType {
        /// The whole key.
        key: String,
        /// What it is.
        found: &'static str,
        /// What to write instead.
        wanted: &'static str,
    },
    /// A number, length or count outside its bounds.
    #[error("`{key}` is {found}, outside its bounds")]
    OutOfRange {
        /// The whole key.
        key: String,
        /// The value.
        found: String,
        /// Its lower bound.
        min: String,
        /// Its upper bound.
        max: String,
    },
    /// A text that does not have the shape it must have.
    #[error("`{key}`: {why}")]
    Malformed {
        /// The whole key.
        key: String,
        /// The reason, with the value where it is harmless.
        why: String,
        /// A value of the right shape.
        example: &'static str,
    },
    /// A key that must be there.
    #[error("`{key}` is missing")]
    Missing {
        /// The whole key.
        key: String,
        /// A line to add.
        example: &'static str,
    },
    /// The same name or value twice.
    #[error("`{key}` is `{value}` a second time, the first is at {first}")]
    Duplicate {
        /// The whole key.
        key: String,
        /// The value.
        value: String,
        /// Where it stood first.
        first: Place,
        /// What to do.
        mend: &'static str,
    },
    /// A bus that no interface has as its name.
    #[error("`{key}` names the bus `{bus}`, which no [[bus.interface]] has")]
    UnknownBus {
        /// The whole key.
        key: String,
        /// The name.
        bus: String,
        /// The nearest one.
        hint: Hint,
    },
    /// A word that is none of those that may stand there.
    #[error("`{key}` names `{word}`, which does not exist")]
    UnknownWord {
        /// The whole key.
        key: String,
        /// The word.
        word: String,
        /// The nearest one.
        hint: Hint,
    },
    /// A file or folder that is named and cannot be opened.
    #[error("`{key}` names {}, which cannot be read: {reason}", path.display())]
    NoFile {
        /// The whole key.
        key: String,
        /// The path, made absolute by the folder of the file that names it.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A credential of systemd, where systemd has given none.
    #[error("`{key}` names the credential `{name}`, and $CREDENTIALS_DIRECTORY is not set")]
    NoCredentials {
        /// The whole key.
        key: String,
        /// The credential.
        name: String,
    },
    /// Key material where a file name belongs. The value is not shown.
    #[error("`{key}` holds a key or certificate itself")]
    SecretInside {
        /// The whole key.
        key: String,
    },
}

/// What may have been meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A known name that is near.
    Nearest(String),
    /// It is known, but in another section.
    Elsewhere(String),
    /// All that are known here.
    Known(Vec<String>),
}

impl Hint {
    /// The nearest of `known`, or all of them.
    pub(super) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match nearest(name, &known) {
            Some(near) => Self::Nearest(near.to_owned()),
            None => Self::Known(known.into_iter().map(str::to_owned).collect()),
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest(name) => write!(f, "did you mean `{name}`?"),
            Self::Elsewhere(section) => write!(f, "it belongs in [{section}]"),
            Self::Known(names) if names.is_empty() => f.write_str("remove it, there is nothing to set here"),
            Self::Known(names) => write!(f, "known here: {}", names.join(", ")),
        }
    }
}

/// The known name that is at most a third of its letters (and at least 2 edits) away from `name`.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|&candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(edits, candidate)| {
            *edits <= (candidate.chars().count() / 3).max(2).min(candidate.len() - 1)
        })
        .min()
        .map(|(_, candidate)| candidate)
}

impl FaultKind {
    /// How to mend it.
    #[must_use]
    pub fn mend(&self) -> String {
        match self {
            Self::Unreadable { .. } => "name an existing file by --config, or give it read rights".to_owned(),
            Self::TooLarge { .. } => "is this the right file?".to_owned(),
            Self::TooManyFiles { .. } => "join some of them".to_owned(),
            Self::NotUtf8 => "save the file as UTF-8".to_owned(),
            Self::Syntax { message } if message.contains("duplicate") => "remove one of them".to_owned(),
            Self::Syntax { .. } => "see https://toml.io for how it is written".to_owned(),
            Self::Unknown { hint, .. } | Self::UnknownBus { hint, .. } | Self::UnknownWord { hint, .. } => {
                hint.to_string()
            }
            Self::WrongType { wanted, .. } => format!("write {wanted}"),
            Self::OutOfRange { min, max, .. } => format!("take {min} to {max}"),
            Self::Malformed { example, .. } => format!("write it like {example}"),
            Self::Missing { example, .. } => format!("add {example}"),
            Self::Duplicate { mend, .. } => (*mend).to_owned(),
            Self::NoFile { .. } => {
                "put it there, or correct the path: it is relative to the folder of the file that names it"
                    .to_owned()
            }
            Self::NoCredentials { name, .. } => format!(
                "systemd sets it for a unit with `LoadCredential={name}:/PATH`; elsewhere name a file, or set it to a folder"
            ),
            Self::SecretInside { .. } => {
                "put it into a file of its own, readable by the agent only, and name that file".to_owned()
            }
        }
    }
}

/// All faults of a configuration, in the order of the files and lines; at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
