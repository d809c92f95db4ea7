//! What functions and operators mean, where that is not an operation of doubles as it is.

use super::Operation;

/// Name, least and most arguments, meaning. Left out of py-expression-eval's are those of texts and of chance.
pub(super) const FUNCTIONS: [(&str, usize, usize, Operation); 27] = [
    ("abs", 1, 1, |v| v[0].abs()),
    ("acos", 1, 1, |v| v[0].acos()),
    ("acosd", 1, 1, |v| v[0].acos().to_degrees()),
    ("asin", 1, 1, |v| v[0].asin()),
    ("asind", 1, 1, |v| v[0].asin().to_degrees()),
    ("atan", 1, 1, |v| v[0].atan()),
    ("atan2", 2, 2, |v| v[0].atan2(v[1])),
    ("atand", 1, 1, |v| v[0].atan().to_degrees()),
    ("ceil", 1, 1, |v| v[0].ceil()),
    ("cos", 1, 1, |v| v[0].cos()),
    ("cosd", 1, 1, |v| v[0].to_radians().cos()),
    ("exp", 1, 1, |v| v[0].exp()),
    ("fac", 1, 1, |v| factorial(v[0])),
    ("floor", 1, 1, |v| v[0].floor()),
    ("if", 3, 3, |v| if is(v[0]) { v[1] } else { v[2] }),
    ("log", 1, 2, |v| v[0].ln() / v.get(1).map_or(1.0, |base| logarithm(*base))),
    ("max", 2, usize::MAX, |v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    ("min", 2, usize::MAX, |v| v.iter().copied().fold(f64::INFINITY, f64::min)),
    ("not", 1, 1, |v| truth(!is(v[0]))),
    ("pow", 2, 2, |v| v[0].powf(v[1])),
    ("pyt", 2, 2, |v| (v[0] * v[0] + v[1] * v[1]).sqrt()),
    ("round", 1, 1, |v| v[0].round_ties_even()),
    ("sin", 1, 1, |v| v[0].sin()),
    ("sind", 1, 1, |v| v[0].to_radians().sin()),
    ("sqrt", 1, 1, |v| v[0].sqrt()),
    ("tan", 1, 1, |v| v[0].tan()),
    ("tand", 1, 1, |v| v[0].to_radians().tan()),
];

pub(super) fn is(value: f64) -> bool {
    value != 0.0
}

pub(super) fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// The remainder with the sign of the right side, as in Python.
pub(super) fn modulo(left: f64, right: f64) -> f64 {
    let rest = left % right;
    if rest != 0.0 && (rest < 0.0) != (right < 0.0) { rest + right } else { rest }
}

/// That of 0 is not finite, though what is divided by it is.
fn logarithm(base: f64) -> f64 {
    if base > 0.0 { base.ln() } else { f64::NAN }
}

/// Of whole numbers bit by bit; others have none.
pub(super) fn xor(left: f64, right: f64) -> f64 {
    let whole = |value: f64| value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0;
    if !whole(left) || !whole(right) {
        return f64::NAN;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "checked to be whole and small"
    )]
    let result = ((left as i64) ^ (right as i64)) as f64;
    result
}

/// Of whole numbers whose factorial is within doubles.
fn factorial(value: f64) -> f64 {
    if value.fract() != 0.0 || !(0.0..=170.0).contains(&value) {
        return f64::NAN;
    }
    let mut result = 1.0;
    let mut factor = 2.0;
    while factor <= value {
        result *= factor;
        factor += 1.0;
    }
    result
}
