//! Expressions: against py-expression-eval, against an evaluator of the test's own, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use glovebox_core::decode::math::Expression;
use glovebox_core::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_VALUES_MAX};
use proptest::prelude::*;

/// The table is made by `math_oracle.py`. Powers and angles may differ in the last places between C libraries.
#[test]
fn expressions_mean_what_they_mean_in_kuksa() {
    let (mut values, mut none) = (0, 0);
    for line in include_str!("math_oracle.tsv").lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let variables: Vec<f64> = fields[1..3].iter().map(|field| field.parse().unwrap()).collect();
        let got = Expression::parse(fields[0], &["x", "y"]).map(|expression| expression.evaluate(&variables));
        match (fields[3].parse::<f64>(), got) {
            (Ok(want), Ok(Some(got))) if (got - want).abs() <= want.abs() * 1e-14 => values += 1,
            (Err(_), Ok(None)) => none += 1,
            (_, got) => unreachable!("{line}: {got:?}"),
        }
    }
    assert_eq!((values, none), (340, 60));
}

#[derive(Debug, Clone)]
enum Tree {
    Number(f64),
    X,
    Y,
    Sign(Box<Tree>),
    Not(Box<Tree>),
    Call(&'static str, Vec<Tree>),
    Pair(&'static str, Box<Tree>, Box<Tree>),
}

/// Operators from loosest to tightest; in a row from left to right.
const LEVELS: [&[&str]; 8] =
    [&["or"], &["and"], &["not"], &["==", "!=", "<", ">"], &["+", "-"], &["*", "-x"], &["/", "%"], &["^"]];

impl Tree {
    fn level(&self) -> usize {
        let operator = match self {
            Self::Sign(_) => "-x",
            Self::Not(_) => "not",
            Self::Pair(operator, ..) => operator,
            Self::Number(_) | Self::X | Self::Y | Self::Call(..) => return LEVELS.len(),
        };
        LEVELS.iter().position(|level| level.contains(&operator)).unwrap()
    }

    /// With parentheses only where they are needed.
    fn write(&self) -> String {
        let inside = |tree: &Tree, least: usize| {
            let text = tree.write();
            if tree.level() < least { format!("({text})") } else { text }
        };
        match self {
            Self::Number(number) => format!("{number:?}"),
            Self::X => "x".to_owned(),
            Self::Y => "y".to_owned(),
            Self::Sign(tree) => format!("-{}", inside(tree, 6)),
            Self::Not(tree) if matches!(**tree, Self::Sign(_)) => format!("not {}", tree.write()),
            Self::Not(tree) => format!("not {}", inside(tree, 3)),
            Self::Call(name, trees) => {
                format!("{name}({})", trees.iter().map(Self::write).collect::<Vec<_>>().join(", "))
            }
            Self::Pair(operator, left, right) => {
                let level = self.level();
                // A sign is fine only behind what is looser than it.
                let right = match **right {
                    Self::Sign(_) if level < 5 => right.write(),
                    _ => inside(right, level + 1),
                };
                format!("{} {operator} {right}", inside(left, level))
            }
        }
    }

    fn value(&self, x: f64, y: f64) -> Option<f64> {
        let truth = |value: bool| f64::from(u8::from(value));
        let value = match self {
            Self::Number(number) => *number,
            Self::X => x,
            Self::Y => y,
            Self::Sign(tree) => -tree.value(x, y)?,
            Self::Not(tree) => truth(tree.value(x, y)? == 0.0),
            Self::Call(name, trees) => {
                let values: Vec<f64> = trees.iter().map(|tree| tree.value(x, y)).collect::<Option<_>>()?;
                match (*name, &values[..]) {
                    ("floor", [a]) => a.floor(),
                    ("abs", [a]) => a.abs(),
                    ("sqrt", [a]) => a.sqrt(),
                    ("min", [a, b]) => a.min(*b),
                    ("max", [a, b, c]) => a.max(*b).max(*c),
                    ("if", [a, b, c]) => {
                        if *a == 0.0 {
                            *c
                        } else {
                            *b
                        }
                    }
                    _ => unreachable!(),
                }
            }
            Self::Pair(operator, left, right) => {
                let (a, b) = (left.value(x, y)?, right.value(x, y)?);
                match *operator {
                    "or" => {
                        if a == 0.0 {
                            b
                        } else {
                            a
                        }
                    }
                    "and" => {
                        if a == 0.0 {
                            a
                        } else {
                            b
                        }
                    }
                    "==" => truth(a == b),
                    "!=" => truth(a != b),
                    "<" => truth(a < b),
                    ">" => truth(a > b),
                    "+" => a + b,
                    "-" => a - b,
                    "*" => a * b,
                    "/" => a / b,
                    "%" => a - b * (a / b).floor(),
                    "^" => a.powf(b),
                    _ => unreachable!(),
                }
            }
        };
        value.is_finite().then_some(value)
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    // Halves of small numbers: the remainder of these is exact either way.
    let leaf =
        prop_oneof![(0u8..40).prop_map(|n| Tree::Number(f64::from(n) / 2.0)), Just(Tree::X), Just(Tree::Y)];
    leaf.prop_recursive(5, 24, 3, |inner| {
        let pairs = ["or", "and", "==", "!=", "<", ">", "+", "-", "*", "/", "^", "+", "-", "*", "/"];
        let boxed = inner.clone().prop_map(Box::new);
        let halves = (0i8..40, 1i8..20);
        prop_oneof![
            4 => (prop::sample::select(pairs.to_vec()), boxed.clone(), boxed.clone())
                .prop_map(|(operator, a, b)| Tree::Pair(operator, a, b)),
            1 => (halves, any::<bool>()).prop_map(|((a, b), negative)| {
                let number = |n: i8| Box::new(Tree::Number(f64::from(n) / 2.0));
                let rest = Tree::Pair("%", number(a), number(b));
                if negative { Tree::Sign(Box::new(rest)) } else { rest }
            }),
            1 => boxed.clone().prop_map(Tree::Sign),
            1 => boxed.prop_map(Tree::Not),
            1 => (prop::sample::select(vec!["floor", "abs", "sqrt"]), inner.clone())
                .prop_map(|(name, a)| Tree::Call(name, vec![a])),
            1 => [inner.clone(), inner.clone()].prop_map(|trees| Tree::Call("min", trees.to_vec())),
            1 => (prop::sample::select(vec!["max", "if"]), [inner.clone(), inner.clone(), inner])
                .prop_map(|(name, trees)| Tree::Call(name, trees.to_vec())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn precedence_and_meaning_are_those_of_the_tree(tree in trees(), x in -20i8..20, y in -20i8..20) {
        let (x, y) = (f64::from(x) / 2.0, f64::from(y) / 2.0);
        let text = tree.write();
        prop_assume!(text.len() <= EXPRESSION_BYTES_MAX);
        let expression = Expression::parse(&text, &["x", "y"]);
        prop_assert!(expression.is_ok(), "{}: {:?}", text, expression);
        let got = expression.unwrap().evaluate(&[x, y]);
        prop_assert_eq!(got, tree.value(x, y), "{}", text);
        // Spaces mean nothing.
        let wide = text.replace('(', "( ").replace(" + ", "+").replace(" * ", "  *\t");
        let wide = wide.replace("not( ", "not(");
        prop_assert_eq!(Expression::parse(&wide, &["x", "y"]).unwrap().evaluate(&[x, y]), got, "{}", wide);
    }

    #[test]
    fn no_text_panics(text in "[-+*/%^()<>=!.,0-9a-z_ xyENTé]{0,40}") {
        if let Ok(expression) = Expression::parse(&text, &["x"]) {
            let value = expression.evaluate(&[1.5]);
            prop_assert!(value.is_none_or(f64::is_finite));
        }
    }
}

#[test]
fn what_cannot_be_read_says_where_and_what_to_write() {
    for (text, want) in [
        ("", "column 1: a number, a variable, a function or `(` must stand here"),
        ("x +", "column 4: a number, a variable, a function or `(` must stand here"),
        ("x + )", "column 5: a number, a variable, a function or `(` must stand here"),
        ("2 x", "column 3: an operator must stand here"),
        ("x)", "column 2: this `)` closes nothing"),
        ("(x + 1", "column 7: a `)` is missing"),
        ("floor(x + 1", "column 12: a `)` is missing"),
        ("(x y)", "column 4: an operator or `)` must stand here"),
        ("x + y", "column 5: the variable `y` is not known; there is x"),
        ("2 * flor(x)", "column 5: the function `flor` is not known; there is abs, acos,"),
        ("random(x)", "column 1: the function `random` is not known"),
        ("floor", "column 1: the variable `floor` is not known"),
        ("floor()", "column 7: a number, a variable, a function or `(` must stand here"),
        ("1 + floor(x, 2)", "column 5: `floor` has 2 arguments here and takes 1"),
        ("log(x, 2, 3)", "column 1: `log` has 3 arguments here and takes 1 to 2"),
        ("min(x)", "column 1: `min` has 1 arguments here and takes 2 or more"),
        ("2*-x", "column 3: a sign or `not` behind this operator must stand in parentheses"),
        ("--x", "column 2: a sign or `not` behind this operator must stand in parentheses"),
        ("x == not x", "column 5: a sign or `not` behind this operator must stand in parentheses"),
        ("1e999", "column 1: this is not a number, or one too large for a double"),
        ("x > .", "column 5: this is not a number, or one too large for a double"),
        ("'a' + x", "column 1: a number, a variable, a function or `(` must stand here"),
        ("é", "column 1: a number, a variable, a function or `(` must stand here"),
        ("x é", "column 3: an operator must stand here"),
        ("(x, x)", "column 3: an operator or `)` must stand here"),
    ] {
        let error = Expression::parse(text, &["x"]).unwrap_err().to_string();
        assert!(error.starts_with(want), "{text}: {error}");
    }
}

#[test]
fn expressions_are_bounded() {
    let error = |text: &str| Expression::parse(text, &["x"]).unwrap_err();
    let nested = |depth: usize| format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(EXPRESSION_DEPTH_MAX), &["x"]).is_ok());
    let deep = error(&nested(EXPRESSION_DEPTH_MAX + 1));
    assert_eq!((deep.column, deep.what.contains("nested more than 16 deep")), (17, true));
    let long = format!("{}x", "x+".repeat(EXPRESSION_BYTES_MAX / 2));
    assert!(error(&long).what.contains("at most 512 are read"));
    assert!(Expression::parse(&long[2..], &["x"]).is_ok());
    let many = |count: usize| format!("min({}x)", "x,".repeat(count - 1));
    assert!(Expression::parse(&many(EXPRESSION_VALUES_MAX), &["x"]).unwrap().evaluate(&[1.0]).is_some());
    assert!(error(&many(EXPRESSION_VALUES_MAX + 1)).what.contains("more than 32 values wait"));
    // The worst for the parser's stack: each level of operators in each level of parentheses.
    let level = "x or x and not x == x + x * x / x ^ (";
    let count = EXPRESSION_BYTES_MAX / (level.len() + 1);
    let worst = format!("{}x{}", level.repeat(count), ")".repeat(count));
    assert!(
        Expression::parse(&worst, &["x"]).is_err_and(|error| error.what.contains("values wait")),
        "{worst}"
    );
}

#[test]
fn several_variables_and_truth() {
    let text = "Vehicle.Speed > 50 and not Vehicle.IsMoving == 0 or door";
    let condition = Expression::parse(text, &["Vehicle.IsMoving", "Vehicle.Speed", "door"]).unwrap();
    for (moving, speed, door, want) in
        [(1.0, 60.0, 0.0, 1.0), (0.0, 60.0, 0.0, 0.0), (1.0, 50.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0)]
    {
        assert_eq!(condition.evaluate(&[moving, speed, door]), Some(want));
    }
    assert_eq!(condition.evaluate(&[1.0, 60.0]), None, "a variable without a value");
    assert_eq!(condition.evaluate(&[f64::NAN, 60.0, 0.0]), None, "a variable that is no number");
}
