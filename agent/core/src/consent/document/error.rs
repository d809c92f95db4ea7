//! Why a document was refused: its kind, the place in its JSON, what is wrong and what to do. Never a value of it.

use std::fmt;

/// What kind of document it is, or was meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// Something in a DSSE envelope; which kind is not known yet.
    Envelope,
    /// The pushed policy bundle.
    Bundle,
    /// The root's word on the key that signs bundles.
    SigningKey,
    /// A recipient's word on its HPKE key.
    HpkeKey,
    /// What a recipient asks for.
    Request,
    /// What the owner decided.
    Consent,
    /// An owner's word on who else is one.
    Enrolment,
}

impl DocumentKind {
    /// The word for it at `glovebox policy sign --type`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::Bundle => "bundle",
            Self::SigningKey => "signing-key",
            Self::HpkeKey => "hpke-key",
            Self::Request => "request",
            Self::Consent => "consent",
            Self::Enrolment => "enrolment",
        }
    }
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Envelope => "signed document",
            Self::Bundle => "policy bundle",
            Self::SigningKey => "signing-key statement",
            Self::HpkeKey => "HPKE-key statement",
            Self::Request => "request",
            Self::Consent => "consent record",
            Self::Enrolment => "enrolment",
        })
    }
}

/// A refused document. The path counts from the outermost document: `requests[2].signals[0].signal`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}{}: {fault}", at(.path))]
pub struct DocumentError {
    /// Of the innermost document that is at fault.
    pub kind: DocumentKind,
    /// Place in the JSON; empty for the whole.
    pub path: String,
    /// What is wrong there.
    pub fault: Fault,
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at `{path}`") }
}

impl DocumentError {
    pub(super) fn new(kind: DocumentKind, path: impl Into<String>, fault: Fault) -> Self {
        Self { kind, path: path.into(), fault }
    }

    /// The same fault, seen from the document in which this one lies at `outer`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.path = join(outer, &self.path);
        self
    }
}

/// `a` and `b` as one path.
pub(super) fn join(outer: &str, inner: &str) -> String {
    match (outer.is_empty(), inner.is_empty()) {
        (true, _) => inner.to_owned(),
        (_, true) => outer.to_owned(),
        _ if inner.starts_with('[') => format!("{outer}{inner}"),
        _ => format!("{outer}.{inner}"),
    }
}

/// What is wrong at a place of a document, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// More bytes than are read at all.
    #[error("{bytes} bytes long, at most {max} are read; shorten it")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Nested too deeply.
    #[error("nested deeper than {max} levels; flatten it")]
    TooDeep {
        /// The bound.
        max: usize,
    },
    /// Not JSON.
    #[error("not JSON at line {line}, column {column}: {what}; mend it and sign it again")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column.
        column: usize,
        /// The parser's words.
        what: String,
    },
    /// A key stands twice in one object.
    #[error("this key stands twice in its object; keep one of them")]
    DuplicateKey,
    /// A value that says nothing.
    #[error("is null, which says nothing; leave it out")]
    Null,
    /// A field is unknown, missing or of another type.
    #[error("{0}")]
    Shape(String),
    /// The payload type is that of something else.
    #[error("payload type is {found}, wanted is `{wanted}`; use a document of that kind")]
    PayloadType {
        /// Its kind in words, as far as it is known.
        found: String,
        /// The type that belongs here.
        wanted: &'static str,
    },
    /// Not strict base64.
    #[error("not base64 with the standard alphabet, padding and no white space; encode it so")]
    Base64,
    /// An Ed25519 signature has 64 bytes.
    #[error("a signature of {bytes} bytes, an Ed25519 signature has 64; sign it again")]
    SignatureLength {
        /// Its length.
        bytes: usize,
    },
    /// No signature fits.
    #[error(
        "none of its signatures is by {by}, or it was changed after it was signed; sign these bytes with that key"
    )]
    Signature {
        /// Whose key it must be.
        by: &'static str,
    },
    /// A bundle without the root's statement.
    #[error("the root's statement on the signing key is missing; sign the bundle with `--statement`")]
    StatementMissing,
    /// A statement where none belongs.
    #[error("only a policy bundle brings a signing-key statement; leave it out")]
    StatementMisplaced,
    /// Too many of something, or none where one is needed.
    #[error("{count} entries, must be {min} to {max}")]
    Count {
        /// How many there are.
        count: usize,
        /// At least so many.
        min: usize,
        /// At most so many.
        max: usize,
    },
    /// The same thing is listed before.
    #[error("is the same as `{first}`; list it once")]
    Repeated {
        /// Path of the first one.
        first: String,
    },
    /// An expression that cannot be read.
    #[error("the expression cannot be read at {0}")]
    Expression(crate::decode::math::MathError),
    /// A rule of its kind does not hold.
    #[error("{0}")]
    Rule(&'static str),
}
