//! The sections: what each stage is told, checked.

use std::path::PathBuf;
use std::time::Duration;

use glovebox_core::frame::BusIndex;
use glovebox_core::limits;
use glovebox_core::names::{BusName, DeviceId};

use super::delivery::{Signal, read_signal};
use super::fault::{FaultKind, Hint, Place};
use super::reader::{Collector, Read, Reader};
use super::source::{Item, Table, Value};
use crate::bus::config::{Config as BusConfig, Interface, Speed};

/// `[decode]`: what the frames mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decode {
    /// One entry a bus.
    pub databases: Vec<Database>,
}

/// `[[decode.database]]`: the DBC files and the mapping of one bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The bus.
    pub bus: BusName,
    /// Its number.
    pub index: BusIndex,
    /// DBC files, at least one.
    pub dbc: Vec<PathBuf>,
    /// The Kuksa mapping to VSS names.
    pub map: Option<PathBuf>,
    /// A DBC file of which anything would have to be left out or mended is refused.
    pub strict: bool,
    /// All 29-bit messages are of J1939, whatever the files say.
    pub j1939: bool,
}

/// `[consent]`: which car this is.
#[derive(Debug, Clone, PartialEq)]
pub struct Consent {
    /// The car, as authority and broker name it.
    pub device: DeviceId,
    /// Groups that bundles may be meant for.
    pub groups: Vec<DeviceId>,
    /// Bundles dropped here are taken.
    pub policy_folder: Option<PathBuf>,
    /// `[consent.trip]`: a trip goes on while this holds.
    pub trip: Option<Signal>,
}

/// `[batch]`: when a batch closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// At this age.
    pub age: Duration,
    /// At this many raw column bytes.
    pub size_bytes: usize,
}

/// `[outbox]`: how much waits for a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outbox {
    /// Space on disk.
    pub size_bytes: u64,
    /// Space on disk for each flow.
    pub flow_size_bytes: u64,
    /// What stays free of the file system.
    pub free_bytes: u64,
    /// Batches wait at most so long for others before all are stored together.
    pub gather: Duration,
}

/// `[health]`: where the agent keeps its state and listens for commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The folder of all state.
    pub state: PathBuf,
    /// The control socket.
    pub control_socket: PathBuf,
}

pub(super) fn read_bus(root: &Table, interface: Read<Vec<Interface>>, to: &mut Collector) -> Read<BusConfig> {
    let reader = Reader::section(root, "bus", to);
    let replay = reader.file("replay", to);
    let speed = read_speed(&reader, to)?;
    Ok(BusConfig { replay: replay?, speed, interface: interface? })
}

fn read_speed(reader: &Reader<'_>, to: &mut Collector) -> Read<Speed> {
    let factor = match reader.get("speed").map(|item| (item, &item.value)) {
        None => return Ok(Speed::Factor(1.0)),
        Some((_, Value::Text(text))) if text == "max" => return Ok(Speed::Max),
        Some((_, Value::Float(factor))) => *factor,
        // What does not fit 32 bits is out of range anyway.
        Some((_, Value::Integer(number, _))) => {
            number.and_then(|number| i32::try_from(number).ok()).map_or(f64::MAX, f64::from)
        }
        Some((item, _)) => return Err(wrong_speed(reader, item, to)),
    };
    let range = limits::REPLAY_SPEED_FACTOR_MIN..=limits::REPLAY_SPEED_FACTOR_MAX;
    if range.contains(&factor) {
        return Ok(Speed::Factor(factor));
    }
    Err(reader.outside("speed", factor, &range, to))
}

fn wrong_speed(reader: &Reader<'_>, item: &Item, to: &mut Collector) -> super::reader::Told {
    reader.wrong("speed", item, "\"max\" or a number, 1.0 is as recorded", to)
}

/// `[[bus.interface]]`: apart from the rest of `[bus]`, for `[decode]` needs the names.
pub(super) fn read_interfaces(root: &Table, to: &mut Collector) -> Read<Vec<Interface>> {
    let reader = Reader::section(root, "bus", to);
    let tables = reader.tables("interface", to)?;
    if tables.is_empty() && reader.get("interface").is_none() {
        let example = "[[bus.interface]] with name = \"can0\" and interface = \"can0\"";
        return Err(reader.missing("interface", example, to));
    }
    let mut told = None;
    if !(1..=limits::BUSES_MAX).contains(&tables.len()) {
        told = Some(reader.outside("interface", tables.len(), &(1..=limits::BUSES_MAX), to));
    }
    let mut names = Seen::new("give each bus a name of its own");
    let mut interfaces = Seen::new("one interface is one bus: remove one of them");
    let mut all = Vec::new();
    for table in &tables {
        match read_interface(table, &mut names, &mut interfaces, to) {
            Ok(interface) => all.push(interface),
            Err(error) => told = Some(error),
        }
    }
    told.map_or(Ok(all), Err)
}

fn read_interface(
    table: &Reader<'_>,
    names: &mut Seen,
    interfaces: &mut Seen,
    to: &mut Collector,
) -> Read<Interface> {
    let name = table
        .needed("name", "name = \"can0\"", to, BusName::new)
        .and_then(|name| names.once(table, "name", name.as_str(), to).map(|()| name));
    let interface = table
        .needed("interface", "interface = \"can0\"", to, interface_name)
        .and_then(|text| interfaces.once(table, "interface", &text, to).map(|()| text));
    Ok(Interface { name: name?, interface: interface? })
}

pub(super) fn interface_name(text: &str) -> Result<String, String> {
    let fits = (1..=limits::INTERFACE_NAME_BYTES_MAX).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != '#');
    if fits {
        return Ok(text.to_owned());
    }
    let max = limits::INTERFACE_NAME_BYTES_MAX;
    Err(format!("`{text}` is no interface name: 1 to {max} printable characters without `/` and `#`"))
}

impl Decode {
    pub(super) fn read(root: &Table, interfaces: &Read<Vec<Interface>>, to: &mut Collector) -> Read<Self> {
        let reader = Reader::section(root, "decode", to);
        let mut seen = Seen::new("put all DBC files of a bus into one list");
        let mut told = None;
        let mut databases = Vec::new();
        for table in &reader.tables("database", to)? {
            let dbc = read_dbc(table, to);
            let map = table.file("map", to);
            let flags = [table.flag("strict", to), table.flag("j1939", to)];
            let bus = table
                .needed("bus", "bus = \"can0\"", to, BusName::new)
                .and_then(|name| seen.once(table, "bus", name.as_str(), to).map(|()| name))
                .and_then(|name| find_bus(table, name, interfaces, to));
            match (bus, dbc, map, flags) {
                (Ok((bus, index)), Ok(dbc), Ok(map), [Ok(strict), Ok(j1939)]) => {
                    databases.push(Database { bus, index, dbc, map, strict, j1939 });
                }
                (Err(error), ..) | (_, Err(error), ..) | (_, _, Err(error), _) => told = Some(error),
                (.., [Err(error), _] | [_, Err(error)]) => told = Some(error),
            }
        }
        told.map_or(Ok(Self { databases }), Err)
    }
}

fn read_dbc(table: &Reader<'_>, to: &mut Collector) -> Read<Vec<PathBuf>> {
    if table.get("dbc").is_none() {
        return Err(table.missing("dbc", "dbc = [\"car.dbc\"]", to));
    }
    let files = table.files("dbc", to)?;
    let range = 1..=limits::DBC_FILES_PER_BUS_MAX;
    if !range.contains(&files.len()) {
        return Err(table.outside("dbc", format!("a list of {}", files.len()), &range, to));
    }
    let mut seen = Seen::new("remove one of them");
    for (path, place) in &files {
        seen.once_at(table, "dbc", (&path.to_string_lossy(), place), to)?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// The number of a bus. If the buses themselves have faults, names are not judged.
fn find_bus(
    table: &Reader<'_>,
    name: BusName,
    interfaces: &Read<Vec<Interface>>,
    to: &mut Collector,
) -> Read<(BusName, BusIndex)> {
    let interfaces = interfaces.as_ref().map_err(|told| *told)?;
    let position = interfaces.iter().position(|interface| interface.name == name);
    match position.map(u8::try_from) {
        Some(Ok(index)) => Ok((name, BusIndex(index))),
        _ => {
            let hint = Hint::nearest(name.as_str(), interfaces.iter().map(|i| i.name.as_str()));
            let kind = FaultKind::UnknownBus { key: table.name("bus"), bus: name.to_string(), hint };
            Err(to.tell(&table.place("bus"), kind))
        }
    }
}

impl Consent {
    pub(super) fn read(root: &Table, to: &mut Collector) -> Read<Self> {
        let reader = Reader::section(root, "consent", to);
        let device = reader.needed("device", "device = \"car-1\"", to, DeviceId::new);
        let groups = read_groups(&reader, to);
        let policy_folder = reader.folder("policy_folder", to);
        let trip = reader.inner("trip", to)?.map(|inner| read_trip(&inner, to)).transpose();
        Ok(Self { device: device?, groups: groups?, policy_folder: policy_folder?, trip: trip? })
    }
}

fn read_trip(reader: &Reader<'_>, to: &mut Collector) -> Read<Signal> {
    read_signal(reader, to)?.ok_or_else(|| reader.missing("signal", "signal = \"Vehicle.IsMoving\"", to))
}

fn read_groups(reader: &Reader<'_>, to: &mut Collector) -> Read<Vec<DeviceId>> {
    let texts = reader.texts("groups", to)?;
    if texts.len() > limits::GROUPS_MAX {
        return Err(reader.outside("groups", texts.len(), &(0..=limits::GROUPS_MAX), to));
    }
    let mut seen = Seen::new("remove one of them");
    let mut told = None;
    let mut groups = Vec::new();
    for (text, place) in texts {
        let group = DeviceId::new(text).map_err(|why| {
            let kind = FaultKind::Malformed {
                key: reader.name("groups"),
                why: why.to_string(),
                example: "groups = [\"fleet-a\"]",
            };
            to.tell(&place, kind)
        });
        match group.and_then(|group| seen.once_at(reader, "groups", (text, &place), to).map(|()| group)) {
            Ok(group) => groups.push(group),
            Err(error) => told = Some(error),
        }
    }
    told.map_or(Ok(groups), Err)
}

impl Batch {
    pub(super) fn read(root: &Table, to: &mut Collector) -> Read<Self> {
        let reader = Reader::section(root, "batch", to);
        let ages = limits::BATCH_AGE_S_MIN..=limits::BATCH_AGE_S_MAX;
        let sizes = limits::BATCH_SIZE_KIB_MIN..=limits::BATCH_SIZE_KIB_MAX;
        let age_s = reader.number("age_s", ages, limits::BATCH_AGE_S_DEFAULT, to);
        let size_kib = reader.number("size_kib", sizes, limits::BATCH_SIZE_KIB_MAX, to);
        let size_bytes = usize::try_from(size_kib? * 1024).unwrap_or(limits::BATCH_COLUMN_BYTES_MAX);
        Ok(Self { age: Duration::from_secs(age_s?), size_bytes })
    }
}

impl Outbox {
    pub(super) fn read(root: &Table, to: &mut Collector) -> Read<Self> {
        let reader = Reader::section(root, "outbox", to);
        let sizes = limits::OUTBOX_SIZE_MIB_MIN..=limits::OUTBOX_SIZE_MIB_MAX;
        let size_mib = reader.number("size_mib", sizes.clone(), limits::OUTBOX_SIZE_MIB_DEFAULT, to);
        let default = *size_mib.as_ref().unwrap_or(sizes.end());
        let flow_size_mib = reader.number("flow_size_mib", sizes, default, to);
        let free = 0..=limits::OUTBOX_SIZE_MIB_MAX;
        let free_mib = reader.number("free_mib", free, limits::OUTBOX_FREE_MIB_DEFAULT, to);
        let gather_s =
            reader.number("gather_s", 0..=limits::OUTBOX_GATHER_S_MAX, limits::OUTBOX_GATHER_S_DEFAULT, to);
        let bytes = |mib: u64| mib * 1024 * 1024;
        let (size_bytes, flow_size_bytes) = (bytes(size_mib?), bytes(flow_size_mib?));
        let gather = Duration::from_secs(gather_s?);
        Ok(Self { size_bytes, flow_size_bytes, free_bytes: bytes(free_mib?), gather })
    }
}

impl Health {
    pub(super) fn read(root: &Table, to: &mut Collector) -> Read<Self> {
        let reader = Reader::section(root, "health", to);
        let state = reader.path("state", to);
        let socket = reader.path("control_socket", to);
        let control_socket = socket?.unwrap_or_else(|| PathBuf::from(DEFAULT_CONTROL_SOCKET));
        let length = control_socket.as_os_str().len();
        if length > limits::SOCKET_PATH_BYTES_MAX {
            let range = 1..=limits::SOCKET_PATH_BYTES_MAX;
            let found = format!("a path of {length} bytes");
            return Err(reader.outside("control_socket", found, &range, to));
        }
        Ok(Self { state: state?.unwrap_or_else(|| PathBuf::from(DEFAULT_STATE)), control_socket })
    }
}

const DEFAULT_STATE: &str = "/var/lib/glovebox";
const DEFAULT_CONTROL_SOCKET: &str = "/run/glovebox/control.sock";

/// Values that may stand once only.
pub(super) struct Seen {
    mend: &'static str,
    first: Vec<(String, Place)>,
}

impl Seen {
    pub(super) fn new(mend: &'static str) -> Self {
        Self { mend, first: Vec::new() }
    }

    fn once(&mut self, table: &Reader<'_>, key: &str, value: &str, to: &mut Collector) -> Read<()> {
        self.once_at(table, key, (value, &table.place(key)), to)
    }

    pub(super) fn once_at(
        &mut self,
        table: &Reader<'_>,
        key: &str,
        (value, place): (&str, &Place),
        to: &mut Collector,
    ) -> Read<()> {
        if let Some((_, first)) = self.first.iter().find(|(seen, _)| seen == value) {
            let (key, value, first) = (table.name(key), value.to_owned(), first.clone());
            return Err(to.tell(place, FaultKind::Duplicate { key, value, first, mend: self.mend }));
        }
        self.first.push((value.to_owned(), place.clone()));
        Ok(())
    }
}
