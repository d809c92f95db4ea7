//! Names with `*` and `?` in them.

/// `*` stands for any characters, `?` for one.
pub(super) fn matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => (g, n) = (g + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (g, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs() {
        for (glob, name, want) in [
            ("", "", true),
            ("*", "", true),
            ("*", "Vehicle.Speed", true),
            ("Vehicle.*", "Vehicle.Speed", true),
            ("Vehicle.*", "Vehicles.Speed", false),
            ("*.Speed", "Vehicle.Speed", true),
            ("*S*d", "Vehicle.Speed", true),
            ("*S*x", "Vehicle.Speed", false),
            ("Wheel?", "Wheel1", true),
            ("Wheel?", "Wheel", false),
            ("a*b*c", "aXbXbc", true),
        ] {
            assert_eq!(matches(glob, name), want, "{glob} {name}");
        }
    }
}
