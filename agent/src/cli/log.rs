//! Logging: plain lines on stderr with the stage as target; levels by `GLOVEBOX_LOG` or `--log-filter`.
//!
//! The filter is `LEVEL` or `STAGE=LEVEL`, joined by commas. Foreign crates stay at warnings whatever it
//! says: what they trace may hold a document with signal names.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

/// Log targets: the stages, and the parts of the shell beside them.
const STAGES: &[&str] = &[
    "bus",
    "decode",
    "consent",
    "batch",
    "seal",
    "outbox",
    "uplink",
    "ledger",
    "health",
    "control",
    "daemon",
    "store",
    "key_store",
    "policy_store",
];

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// A line a person reads; levels for the journal where systemd listens.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A filter that was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FilterError {
    /// Not one of the stages.
    #[error("`{stage}` is no stage that logs; there are {}", STAGES.join(", "))]
    Stage {
        /// What was written.
        stage: String,
    },
    /// Not one of the levels.
    #[error("`{0}` is no level; there are off, error, warn, info, debug, trace")]
    Level(String),
}

/// What is logged at which level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter(Vec<(&'static str, LevelFilter)>);

impl Default for Filter {
    fn default() -> Self {
        Self(STAGES.iter().map(|stage| (*stage, LevelFilter::INFO)).collect())
    }
}

impl std::str::FromStr for Filter {
    type Err = FilterError;
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            let (stage, level) = match directive.split_once('=') {
                Some((stage, level)) => (Some(stage), level),
                None => (None, directive),
            };
            let level: LevelFilter = level.parse().map_err(|_| FilterError::Level(level.to_owned()))?;
            if let Some(stage) = stage.filter(|stage| !STAGES.contains(stage)) {
                return Err(FilterError::Stage { stage: stage.to_owned() });
            }
            let chosen =
                |(name, _): &&mut (&'static str, LevelFilter)| stage.is_none_or(|stage| stage == *name);
            filter.0.iter_mut().filter(chosen).for_each(|(_, at)| *at = level);
        }
        Ok(filter)
    }
}

impl Filter {
    /// A stage is a target by its bare name, and by its module where no target was given.
    fn targets(&self) -> Targets {
        let mut targets = Targets::new().with_default(LevelFilter::WARN);
        for (stage, level) in &self.0 {
            for prefix in ["", "glovebox::", "glovebox_core::"] {
                targets = targets.with_target(format!("{prefix}{stage}"), *level);
            }
        }
        targets
    }
}

/// Starts logging to stderr.
///
/// # Errors
/// It was started before.
pub(super) fn start(filter: &Filter, format: Format) -> anyhow::Result<()> {
    let registry = tracing_subscriber::registry().with(filter.targets());
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        Format::Json => tracing::subscriber::set_global_default(registry.with(layer.json()))?,
        Format::Text => {
            let to_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !std::io::stderr().is_terminal();
            let layer = layer.with_ansi(false).event_format(Line { to_journal });
            tracing::subscriber::set_global_default(registry.with(layer))?;
        }
    }
    Ok(())
}

/// `<6>uplink: …` for the journal, which has its own clock; `2026-11-22T10:00:00Z info uplink: …` else.
struct Line {
    to_journal: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (metadata, level) = (event.metadata(), *event.metadata().level());
        if self.to_journal {
            write!(writer, "<{}>", priority(level))?;
        } else {
            SystemTime.format_time(&mut writer)?;
            write!(writer, " {} ", level.as_str().to_ascii_lowercase())?;
        }
        write!(writer, "{}: ", stage(metadata.target()))?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Priorities of syslog, which the journal reads at the start of a line (sd-daemon(3)).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// `glovebox::uplink::tls` is `uplink`; foreign crates are their first name.
fn stage(target: &str) -> &str {
    let mut parts = target.split("::");
    match parts.next() {
        Some("glovebox" | "glovebox_core") => parts.next().unwrap_or("daemon"),
        Some(first) => first,
        None => target,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn enabled(filter: &str, target: &str, level: Level) -> bool {
        filter.parse::<Filter>().unwrap().targets().would_enable(target, &level)
    }

    #[test]
    fn a_filter_sets_stages_and_never_opens_foreign_crates() {
        assert!(enabled("", "uplink", Level::INFO) && !enabled("", "uplink", Level::DEBUG));
        assert!(enabled("warn,uplink=debug", "glovebox::uplink", Level::DEBUG));
        assert!(!enabled("warn,uplink=debug", "glovebox::outbox", Level::INFO));
        assert!(enabled("trace", "glovebox_core::consent::gate", Level::TRACE));
        assert!(!enabled("trace", "rumqttc::v5", Level::INFO));
        assert!(enabled("off", "rumqttc::v5", Level::WARN), "foreign warnings are not the filter's");
    }

    #[test]
    fn an_unknown_stage_or_level_is_refused() {
        assert_eq!(
            "rumqttc=trace".parse::<Filter>(),
            Err(FilterError::Stage { stage: "rumqttc".to_owned() })
        );
        assert_eq!("uplink=loud".parse::<Filter>(), Err(FilterError::Level("loud".to_owned())));
    }

    #[test]
    fn a_target_is_shown_as_its_stage() {
        assert_eq!(stage("glovebox::uplink::tls"), "uplink");
        assert_eq!(stage("uplink"), "uplink");
        assert_eq!(stage("rumqttc::v5"), "rumqttc");
    }
}
