//! Hostile input for the tests of parsers: real samples cut, flipped, spliced, repeated; the same ones in every run. What a
//! parser fails over is made smaller by proptest before it is told.
//! `VFADM_HOSTILE_ROUNDS` asks for more of the random ones.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A parser that takes longer for one input hangs: what is quadratic in [`HUGE`] does, unoptimized on a busy
/// machine.
const LONGEST: Duration = Duration::from_secs(5);
const ROUNDS: u32 = 300;
/// Samples up to this length have each of their bits flipped.
const SMALL: usize = 256;
const HUGE: usize = 128 << 10;

/// What a parser may take for structure, or for a number that does not fit.
const TOKENS: [&str; 30] = [
    "0",
    "-1",
    "1e400",
    "NaN",
    "007",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999",
    "\0",
    "\n",
    "\r\n",
    "\t",
    " ",
    ":",
    ",",
    "=",
    "/",
    "..",
    "@",
    "#",
    "'",
    "\"",
    "\\",
    "\\134",
    "{",
    "[",
    "&a *a",
    "\u{1b}[2J",
    "\u{202e}",
    "ü😀",
];

/// How many random inputs a sample is made into.
fn rounds() -> u32 {
    std::env::var("VFADM_HOSTILE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS)
}

/// One random change of a sample.
#[derive(Clone, Debug)]
enum Edit {
    Cut(Index, Index),
    Repeat(Index, Index),
    /// The rest of another sample in the place of a part.
    Splice(Index, Index, Index, Index),
    Byte(Index, u8),
    /// A number where one was.
    Number(Index, &'static str),
    Token(Index, &'static str),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        (at(), at()).prop_map(|(a, b)| Edit::Cut(a, b)),
        (at(), at()).prop_map(|(a, b)| Edit::Repeat(a, b)),
        (at(), at(), at(), at()).prop_map(|(a, b, other, from)| Edit::Splice(a, b, other, from)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        (at(), select(&TOKENS[..8])).prop_map(|(at, token)| Edit::Number(at, token)),
        (at(), select(&TOKENS[..])).prop_map(|(at, token)| Edit::Token(at, token)),
    ]
}

/// Tells the input that a parser panicked over.
struct Input<'a>(&'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = &self.0[..self.0.len().min(400)];
            eprintln!("the input, of {} bytes: \"{}\"", self.0.len(), shown.escape_ascii());
        }
    }
}

fn feed(bytes: &[u8], parse: &mut impl FnMut(&[u8])) {
    let input = Input(bytes);
    let begun = Instant::now();
    parse(bytes);
    assert!(begun.elapsed() < LONGEST, "took {:?}", begun.elapsed());
    drop(input);
}

/// Hands a parser everything that is made of the samples. It asserts what has to hold, and must not panic or hang.
pub(crate) fn each(samples: &[&[u8]], mut parse: impl FnMut(&[u8])) {
    for sample in samples {
        (0..=sample.len()).for_each(|cut| feed(&sample[..cut], &mut parse));
        (0..sample.len()).for_each(|cut| feed(&sample[cut..], &mut parse));
        for at in (0..sample.len().min(SMALL)).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
            let mut flipped = sample.to_vec();
            flipped[at.0] ^= 1 << at.1;
            feed(&flipped, &mut parse);
        }
        let config = Config { cases: rounds(), failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let cell = RefCell::new(&mut parse);
        let tried = runner.run(&vec(edit(), 1..5), |edits| {
            feed(&spoiled(sample, samples, &edits), &mut **cell.borrow_mut());
            Ok(())
        });
        tried.unwrap_or_else(|failed| panic!("{failed}"));
        feed(&sample.repeat(HUGE / sample.len().max(1)), &mut parse);
    }
    for piece in ["a", "9", " ", "\n", "\0", "/", ":", ",", "\"", "\\", "[", "{", "é"] {
        feed(piece.repeat(HUGE / piece.len()).as_bytes(), &mut parse);
    }
    feed(&vec![0xff; HUGE], &mut parse);
}

/// The same of text: what is no UTF-8 is replaced as where a tool's output is read.
pub(crate) fn each_text(samples: &[&str], mut parse: impl FnMut(&str)) {
    let samples: Vec<&[u8]> = samples.iter().map(|sample| sample.as_bytes()).collect();
    each(&samples, |bytes| parse(&String::from_utf8_lossy(bytes)));
}

/// A sample after some random changes.
fn spoiled(sample: &[u8], samples: &[&[u8]], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for edit in edits {
        let place = |at: &Index| at.index(bytes.len() + 1);
        let part = |a: &Index, b: &Index| place(a).min(place(b))..place(a).max(place(b));
        match edit {
            Edit::Cut(a, b) => drop(bytes.drain(part(a, b))),
            Edit::Repeat(a, b) => {
                let part = part(a, b);
                let copy = bytes[part.clone()].to_vec();
                bytes.splice(part.start..part.start, copy);
            }
            Edit::Splice(a, b, other, from) => {
                let other = samples[other.index(samples.len())];
                let rest = other[from.index(other.len() + 1)..].to_vec();
                bytes.splice(part(a, b), rest);
            }
            Edit::Byte(at, byte) => {
                let at = place(at);
                if let Some(there) = bytes.get_mut(at) {
                    *there = *byte;
                }
            }
            Edit::Number(at, token) => {
                let digit = |byte: &u8| byte.is_ascii_digit();
                let at = place(at);
                let begin = bytes[at..].iter().position(digit).map_or(bytes.len(), |found| at + found);
                let length = bytes[begin..].iter().take_while(|byte| digit(byte)).count();
                bytes.splice(begin..begin + length, token.bytes());
            }
            Edit::Token(at, token) => {
                let at = place(at);
                bytes.splice(at..at, token.bytes());
            }
        }
    }
    bytes
}

/// YAML that costs its reader more than its length: deep in every way, one value many times, keys twice.
pub(crate) fn bombs(length: usize) -> Vec<Vec<u8>> {
    let mut bombs: Vec<Vec<u8>> = [
        "[", "{a: ", "- ", "? ", "&a ", "!!a ", "[a, ", "{", "a: [", "-\n ", "\"a\": {", "*a ", "|\n",
        "'a' : ",
    ]
    .iter()
    .map(|piece| piece.repeat(length / piece.len()).into_bytes())
    .collect();
    let mut stairs = String::new();
    for depth in 0.. {
        stairs += &format!("{}a:\n", " ".repeat(depth));
        if stairs.len() > length {
            break;
        }
    }
    bombs.push(stairs.into_bytes());
    let mut laughs = String::from("a0: &a0 [lol, lol, lol]\n");
    for level in 1..40 {
        laughs += &format!("a{level}: &a{level} [{}]\n", format!("*a{}, ", level - 1).repeat(9));
    }
    bombs.push(laughs.into_bytes());
    bombs.push(b"a: 1\n".repeat(length / 5));
    bombs.push([b"a: \"".to_vec(), vec![b'x'; length]].concat());
    bombs.push([b"a: ".to_vec(), vec![b'9'; length], b"\n".to_vec()].concat());
    bombs.push((0..length / 14).map(|n| format!("a{n}: {n}\n")).collect::<String>().into_bytes());
    bombs
}

/// The longest bomb: a reader whose time grows with the square of the length is out of time by then.
const BOMB: usize = 256 << 10;

/// Hands a reader of YAML the samples, spoiled, and bombs, none longer than the longest file that it reads.
pub(crate) fn each_yaml(samples: &[&str], length: usize, mut parse: impl FnMut(&[u8])) {
    let samples: Vec<&[u8]> = samples.iter().map(|sample| sample.as_bytes()).collect();
    each(&samples, |bytes| {
        if bytes.len() <= length {
            parse(bytes)
        }
    });
    bombs(length.min(BOMB)).iter().for_each(|bomb| feed(bomb, &mut parse));
}

#[test]
fn what_a_parser_fails_over_is_told_as_the_least_of_it() {
    let fussy =
        |bytes: &[u8]| assert!(!bytes.starts_with(b"one") || !bytes.iter().any(|b| b"{[@#\t".contains(b)));
    let panic = std::panic::catch_unwind(|| each(&[b"one: 1\n"], fussy)).expect_err("a parser that panics");
    let told = panic.downcast_ref::<String>().expect("a message");
    let (_, least) = told.split_once("minimal failing input: ").expect("the input");
    assert_eq!(
        ["Cut(", "Repeat(", "Splice(", "Byte(", "Number(", "Token("]
            .map(|edit| least.matches(edit).count())
            .iter()
            .sum::<usize>(),
        1,
        "{told}"
    );
}
