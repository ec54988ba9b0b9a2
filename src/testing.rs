//! Hostile input for the tests of parsers: real samples cut, flipped, spliced, repeated; the same ones in every run.
//! `VFADM_HOSTILE_ROUNDS` asks for more of the random ones.

use std::time::{Duration, Instant};

/// A parser that takes longer for one input hangs: what is quadratic in [`HUGE`] does, unoptimized on a busy
/// machine.
const LONGEST: Duration = Duration::from_secs(5);
const ROUNDS: u64 = 300;
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

/// xorshift: the same numbers in every run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new() -> Numbers {
        Numbers(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// How many random inputs a sample is made into.
pub(crate) fn rounds() -> u64 {
    std::env::var("VFADM_HOSTILE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS)
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
    let mut numbers = Numbers::new();
    for sample in samples {
        (0..=sample.len()).for_each(|cut| feed(&sample[..cut], &mut parse));
        (0..sample.len()).for_each(|cut| feed(&sample[cut..], &mut parse));
        for at in (0..sample.len().min(SMALL)).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
            let mut flipped = sample.to_vec();
            flipped[at.0] ^= 1 << at.1;
            feed(&flipped, &mut parse);
        }
        for _ in 0..rounds() {
            feed(&spoiled(sample, samples, &mut numbers), &mut parse);
        }
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

/// A sample after one to four random changes.
fn spoiled(sample: &[u8], samples: &[&[u8]], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=numbers.below(4) {
        let (a, b) = (numbers.below(bytes.len() + 1), numbers.below(bytes.len() + 1));
        let (from, to) = (a.min(b), a.max(b));
        match numbers.below(6) {
            0 => drop(bytes.drain(from..to)),
            1 => {
                let part = bytes[from..to].to_vec();
                bytes.splice(from..from, part);
            }
            2 => {
                let other = samples[numbers.below(samples.len())];
                let part = other[numbers.below(other.len() + 1)..].to_vec();
                bytes.splice(from..to, part);
            }
            3 if from < bytes.len() => bytes[from] = numbers.below(256) as u8,
            // A number where one was.
            4 => {
                let digit = |byte: &u8| byte.is_ascii_digit();
                let begin = bytes[from..].iter().position(digit).map_or(bytes.len(), |at| from + at);
                let length = bytes[begin..].iter().take_while(|byte| digit(byte)).count();
                bytes.splice(begin..begin + length, TOKENS[numbers.below(8)].bytes());
            }
            _ => drop(bytes.splice(from..from, TOKENS[numbers.below(TOKENS.len())].bytes())),
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
