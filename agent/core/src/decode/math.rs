//! Expressions of mapping files: read once, evaluated without allocation. The only user of `winnow`.
//!
//! ```text
//! or xor │ and │ not │ == != < <= > >= │ + - │ * and signs │ / % │ ^ **     loosest first, each from left to right
//! sin(x) min(x, 1, 2) if(x > 3, 1, 0)     1  .5  2e-3     PI  E     x
//! ```
//!
//! The meaning is that of py-expression-eval 0.3.14, which Kuksa uses, in IEEE doubles: `/` binds tighter than `*`,
//! `-x^2` is `-(x^2)`, `2^3^2` is 64, `%` has the sign of its right side, `round` goes to even, true is 1 and false is
//! 0, and `and` and `or` give one of their sides. There an operation that cannot be done ends the evaluation, whatever
//! becomes of its result; here one with a result that is not finite does.

use crate::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_VALUES_MAX};
use std::sync::Arc;
use winnow::ascii::{digit0, digit1, multispace0};
use winnow::combinator::{Infix, Prefix, alt, cut_err, delimited, expression, not, opt, peek, preceded, separated};
use winnow::error::{ErrMode, ParserError};
use winnow::stream::{Stateful, Stream as _};
use winnow::token::{one_of, take_while};
use winnow::{ModalResult, Parser};

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what}")]
pub struct MathError {
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong and what to write.
    pub what: String,
}

/// An expression over numbered variables.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    /// In the order of their work: values first, then what takes them.
    steps: Arc<[Step]>,
}

/// Two are the same if they are written the same.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

type Operation = fn(&[f64]) -> f64;

#[derive(Clone, Copy)]
enum Step {
    Number(f64),
    Variable(usize),
    /// Takes so many of the last values, and leaves one.
    Apply(Operation, usize),
}

impl Expression {
    /// Reads an expression; a variable's number is its place in `variables`.
    ///
    /// # Errors
    /// [`MathError`]: what cannot be read, an unknown name, a function with the wrong number of arguments, or more
    /// than the bounds.
    pub fn parse(text: &str, variables: &[&str]) -> Result<Self, MathError> {
        check_bounds(text)?;
        let mut input = Input { input: text, state: variables };
        let steps = whole(&mut input).map_err(|error| {
            let fault = error.into_inner().unwrap_or_else(|_| Fault::from_input(&input));
            let before = text.get(..text.len() - fault.rest).unwrap_or(text);
            MathError { column: before.chars().count() + 1, what: fault.what }
        })?;
        if values(&steps) > EXPRESSION_VALUES_MAX {
            let what = format!("more than {EXPRESSION_VALUES_MAX} values wait for their operation; write it simpler");
            return Err(MathError { column: 1, what });
        }
        Ok(Self { text: text.into(), steps: steps.into() })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The result for these variables, true as 1 and false as 0; `None` if some operation has none that is finite.
    #[must_use]
    pub fn evaluate(&self, variables: &[f64]) -> Option<f64> {
        let mut stack = [0.0; EXPRESSION_VALUES_MAX];
        let mut top = 0;
        for step in self.steps.iter() {
            let value = match *step {
                Step::Number(number) => number,
                Step::Variable(number) => *variables.get(number)?,
                Step::Apply(operation, count) => {
                    let first = usize::checked_sub(top, count)?;
                    let value = operation(stack.get(first..top)?);
                    top = first;
                    value
                }
            };
            if !value.is_finite() {
                return None;
            }
            *stack.get_mut(top)? = value;
            top += 1;
        }
        stack.first().copied()
    }
}

fn check_bounds(text: &str) -> Result<(), MathError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let what = format!("the expression has {} bytes, at most {EXPRESSION_BYTES_MAX} are read", text.len());
        return Err(MathError { column: 1, what });
    }
    let mut depth = 0usize;
    for (at, c) in text.chars().enumerate() {
        depth = match c {
            '(' => depth + 1,
            ')' => depth.saturating_sub(1),
            _ => depth,
        };
        if depth > EXPRESSION_DEPTH_MAX {
            let what = format!("parentheses are nested more than {EXPRESSION_DEPTH_MAX} deep; write it simpler");
            return Err(MathError { column: at + 1, what });
        }
    }
    Ok(())
}

/// How many values wait at once while the steps are done.
fn values(steps: &[Step]) -> usize {
    let (mut waiting, mut most) = (0usize, 0);
    for step in steps {
        waiting = match step {
            Step::Number(_) | Step::Variable(_) => waiting + 1,
            Step::Apply(_, count) => waiting.saturating_sub(*count) + 1,
        };
        most = most.max(waiting);
    }
    most
}

// --- reading

/// What is still to be read, and the variables.
type Input<'i> = Stateful<&'i str, &'i [&'i str]>;
type Steps = Vec<Step>;
type Parsed<T> = ModalResult<T, Fault>;

/// Where it went wrong: so many bytes before the end.
#[derive(Debug)]
struct Fault {
    rest: usize,
    what: String,
}

impl ParserError<Input<'_>> for Fault {
    type Inner = Self;

    fn from_input(input: &Input<'_>) -> Self {
        Self { rest: input.eof_offset(), what: "a number, a variable, a function or `(` must stand here".to_owned() }
    }

    /// The one that came further.
    fn or(self, other: Self) -> Self {
        if self.rest < other.rest { self } else { other }
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

fn fault<T>(input: &Input<'_>, what: impl Into<String>) -> Parsed<T> {
    Err(ErrMode::Cut(Fault { rest: input.eof_offset(), what: what.into() }))
}

fn whole(input: &mut Input<'_>) -> Parsed<Steps> {
    let steps = formula(input)?;
    multispace0.parse_next(input)?;
    match input.input.chars().next() {
        None => Ok(steps),
        Some(')') => fault(input, "this `)` closes nothing"),
        Some(_) => fault(input, "an operator must stand here"),
    }
}

fn formula(input: &mut Input<'_>) -> Parsed<Steps> {
    expression(operand).prefix(prefix).infix(infix).parse_next(input)
}

/// The binding powers of py-expression-eval, times ten.
fn infix<'i>(input: &mut Input<'i>) -> Parsed<Infix<Input<'i>, Steps, ErrMode<Fault>>> {
    use Infix::Left;
    multispace0.parse_next(input)?;
    let arithmetic = (
        alt(("**", "^")).value(Left(80, |_, a, b| two(a, b, |v| v[0].powf(v[1])))),
        "%".value(Left(60, |_, a, b| two(a, b, |v| modulo(v[0], v[1])))),
        "/".value(Left(60, |_, a, b| two(a, b, |v| v[0] / v[1]))),
        "*".value(Left(50, |_, a, b| two(a, b, |v| v[0] * v[1]))),
        "+".value(Left(40, |_, a, b| two(a, b, |v| v[0] + v[1]))),
        "-".value(Left(40, |_, a, b| two(a, b, |v| v[0] - v[1]))),
    );
    let comparison = (
        "==".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] == v[1])))),
        "!=".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] != v[1])))),
        "<=".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] <= v[1])))),
        ">=".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] >= v[1])))),
        "<".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] < v[1])))),
        ">".value(Left(30, |_, a, b| two(a, b, |v| truth(v[0] > v[1])))),
    );
    let logic = (
        word("and").value(Left(10, |_, a, b| two(a, b, |v| if is(v[0]) { v[1] } else { v[0] }))),
        word("or").value(Left(0, |_, a, b| two(a, b, |v| if is(v[0]) { v[0] } else { v[1] }))),
        word("xor").value(Left(0, |_, a, b| two(a, b, |v| xor(v[0], v[1])))),
    );
    let operator = alt((alt(arithmetic), alt(comparison), alt(logic))).parse_next(input)?;
    if let Left(power, _) = &operator {
        check_prefix(input, *power)?;
    }
    Ok(operator)
}

fn prefix<'i>(input: &mut Input<'i>) -> Parsed<Prefix<Input<'i>, Steps, ErrMode<Fault>>> {
    multispace0.parse_next(input)?;
    let operator = alt((
        "-".value(Prefix(51, |_, a| apply(vec![a], |v| -v[0]))),
        "+".value(Prefix(51, |_, a| Ok(a))),
        word("not").value(Prefix(21, |_, a| apply(vec![a], |v| truth(!is(v[0]))))),
    ))
    .parse_next(input)?;
    check_prefix(input, operator.0)?;
    Ok(operator)
}

/// Behind an operator that binds as tightly, Kuksa takes no sign and no `not`: its evaluation fails each time.
fn check_prefix(input: &Input<'_>, power: i64) -> Parsed<()> {
    let rest = input.input.trim_start();
    let is_not = peek(word("not")).parse_next(&mut Input { input: rest, state: input.state }).is_ok();
    if (power >= 50 && rest.starts_with(['-', '+'])) || (power >= 20 && is_not) {
        return fault(input, "a sign or `not` behind this operator must stand in parentheses, as in `2*(-x)`");
    }
    Ok(())
}

fn operand(input: &mut Input<'_>) -> Parsed<Steps> {
    multispace0.parse_next(input)?;
    alt((number, parentheses, name)).parse_next(input)
}

fn number(input: &mut Input<'_>) -> Parsed<Steps> {
    let start = input.checkpoint();
    let exponent = (one_of(['e', 'E']), opt(one_of(['+', '-'])), digit1);
    let text: &str = (digit0, opt(('.', digit0)), opt(exponent)).take().parse_next(input)?;
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        input.reset(&start);
        return Err(ErrMode::from_input(input));
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(vec![Step::Number(number)]),
        _ => {
            input.reset(&start);
            fault(input, "this is not a number, or one too large for a double")
        }
    }
}

fn parentheses(input: &mut Input<'_>) -> Parsed<Steps> {
    delimited('(', cut_err(formula), closing).parse_next(input)
}

fn closing(input: &mut Input<'_>) -> Parsed<()> {
    multispace0.parse_next(input)?;
    match opt(')').parse_next(input)? {
        Some(_) => Ok(()),
        None if input.input.is_empty() => fault(input, "a `)` is missing"),
        None => fault(input, "an operator or `)` must stand here"),
    }
}

/// A constant, a variable or a call.
fn name(input: &mut Input<'_>) -> Parsed<Steps> {
    let start = input.checkpoint();
    let first = one_of(|c: char| c.is_ascii_alphabetic() || c == '_');
    let name: &str = (first, take_while(0.., is_name)).take().parse_next(input)?;
    // `not (x) == 1` denies the comparison, `not(x) == 1` only `x`.
    let call = input.input.starts_with('(') || (name != "not" && input.input.trim_start().starts_with('('));
    if matches!(name, "and" | "or" | "xor") || (name == "not" && !call) {
        input.reset(&start);
        return Err(ErrMode::from_input(input));
    }
    if call {
        return function(input, name).map_err(|error| match error {
            // Names and numbers of arguments are faults of the name.
            ErrMode::Backtrack(fault) => {
                input.reset(&start);
                ErrMode::Cut(Fault { rest: input.eof_offset(), ..fault })
            }
            other => other,
        });
    }
    let step = match name {
        "PI" => Some(Step::Number(std::f64::consts::PI)),
        "E" => Some(Step::Number(std::f64::consts::E)),
        _ => input.state.iter().position(|variable| *variable == name).map(Step::Variable),
    };
    if let Some(step) = step {
        return Ok(vec![step]);
    }
    input.reset(&start);
    fault(input, format!("the variable `{name}` is not known; there is {}", input.state.join(", ")))
}

fn function(input: &mut Input<'_>, name: &str) -> Parsed<Steps> {
    let wrong = |what: String| Err(ErrMode::Backtrack(Fault { rest: 0, what }));
    let Some((_, least, most, operation)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
        let names: Vec<&str> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
        return wrong(format!("the function `{name}` is not known; there is {}", names.join(", ")));
    };
    let comma = (multispace0, ',');
    let arguments = separated(1.., formula, comma);
    let arguments: Vec<Steps> =
        preceded((multispace0, '('), cut_err((arguments, closing))).map(|(found, ())| found).parse_next(input)?;
    let count = arguments.len();
    if !(*least..=*most).contains(&count) {
        let want = match (*least, *most) {
            (least, most) if least == most => least.to_string(),
            (least, usize::MAX) => format!("{least} or more"),
            (least, most) => format!("{least} to {most}"),
        };
        return wrong(format!("`{name}` has {count} arguments here and takes {want}"));
    }
    apply(arguments, *operation)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.')
}

/// A whole word.
fn word<'i>(text: &'static str) -> impl Parser<Input<'i>, (), ErrMode<Fault>> {
    (text, not(one_of(is_name))).void()
}

#[expect(clippy::unnecessary_wraps, reason = "winnow's operators may fail")]
fn apply(arguments: Vec<Steps>, operation: Operation) -> Parsed<Steps> {
    let count = arguments.len();
    let mut steps = arguments.concat();
    steps.push(Step::Apply(operation, count));
    Ok(steps)
}

fn two(left: Steps, right: Steps, operation: Operation) -> Parsed<Steps> {
    apply(vec![left, right], operation)
}

// --- what they mean

/// Name, least and most arguments, meaning. Left out of py-expression-eval's are those of texts and of chance.
const FUNCTIONS: [(&str, usize, usize, Operation); 27] = [
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
    ("log", 1, 2, |v| v[0].ln() / v.get(1).map_or(1.0, |base| base.ln())),
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

fn is(value: f64) -> bool {
    value != 0.0
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// The remainder with the sign of the right side, as in Python.
fn modulo(left: f64, right: f64) -> f64 {
    let rest = left % right;
    if rest != 0.0 && (rest < 0.0) != (right < 0.0) { rest + right } else { rest }
}

/// Of whole numbers bit by bit; others have none.
fn xor(left: f64, right: f64) -> f64 {
    let whole = |value: f64| value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0;
    if !whole(left) || !whole(right) {
        return f64::NAN;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "checked to be whole and small")]
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
