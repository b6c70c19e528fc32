//! Changes at random: of bytes, of text, and of the structure of JSON.

use hive::data::rng::Rng;
use serde_json::{Value, json};

/// Whole numbers where sizes overflow.
const NUMBERS: [i64; 14] =
    [0, 1, -1, 2, 7, 255, 65_536, 1 << 24, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 53) + 1, i64::MAX, i64::MIN];

/// Texts that mean something to some reader.
const WORDS: [&str; 34] = [
    "",
    "null",
    "NaN",
    "Infinity",
    "-0.0",
    "1e999",
    "1e308",
    "true",
    "[]",
    "{}",
    "\"",
    "\\u0000",
    "\u{feff}",
    "../",
    "%00",
    "%F0%9F",
    "<image>",
    "{{",
    "{% for x in y %}",
    "{{ range(99999999) }}",
    "{{ 'ab' * 99999999 }}",
    "{{ '%99999999d' % 1 }}",
    "{{ '{:>99999999}'.format(1) }}",
    "{{ m | indent(99999999) }}",
    "{{ messages | tojson(indent=99999999) }}",
    "{{ 2 ** 99 }}",
    "{{ '\u{1f642}'[1:-9] }}",
    "\u{1f642}",
    "\r\n",
    "0x7f",
    "-",
    "\\ud800",
    "links:",
    "18446744073709551615",
];

/// A byte string that differs from `seed` in a few places.
pub(crate) fn bytes(seed: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..few(rng) {
        one(&mut out, other, rng);
    }
    out
}

/// Mostly one: what is changed in many places is refused at the first.
fn few(rng: &mut Rng) -> usize {
    if rng.chance(0.7) { 1 } else { 2 + rng.below(3) }
}

fn one(out: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    if out.is_empty() {
        out.push(rng.next_u32() as u8);
        return;
    }
    // Most of what matters stands at the front.
    let end = if rng.chance(0.5) { out.len() } else { out.len().min(64) };
    let at = rng.below(end);
    let len = (1 + rng.below(16)).min(out.len() - at);
    match rng.below(9) {
        0 => out[at] ^= 1 << rng.below(8),
        1 => out[at] = rng.next_u32() as u8,
        2 => drop(out.drain(at..at + len)),
        3 => {
            let piece = out[at..at + len].to_vec();
            (0..1 + rng.below(4)).for_each(|_| drop(out.splice(at..at, piece.iter().copied())));
        }
        4 => out.truncate(at),
        5 => {
            let number = rng.pick(&NUMBERS).to_le_bytes();
            out.iter_mut().skip(at).zip(number).take(1 << rng.below(4)).for_each(|(to, from)| *to = from);
        }
        6 => drop(out.splice(at..at, rng.pick(&WORDS).bytes())),
        7 if !other.is_empty() => {
            let from = rng.below(other.len());
            let piece = &other[from..(from + 64).min(other.len())];
            drop(out.splice(at..at + len, piece.iter().copied()));
        }
        _ => number(out, at, rng),
    }
}

/// The first run of digits from `at` on becomes another number.
fn number(out: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let Some(start) = (at..out.len()).find(|i| out[*i].is_ascii_digit()) else { return };
    let end = (start..out.len()).find(|i| !out[*i].is_ascii_digit()).unwrap_or(out.len());
    drop(out.splice(start..end, rng.pick(&NUMBERS).to_string().bytes()));
}

/// JSON that differs from `seed` in a few places.
pub(crate) fn json(seed: &Value, rng: &mut Rng) -> Value {
    let mut out = seed.clone();
    for _ in 0..few(rng) {
        let (mut count, chosen) = (0, rng.below(nodes(&out)));
        change(&mut out, &mut count, chosen, rng);
    }
    out
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(nodes).sum::<usize>(),
        Value::Object(map) => map.values().map(nodes).sum(),
        _ => 0,
    }
}

fn change(value: &mut Value, count: &mut usize, chosen: usize, rng: &mut Rng) {
    if *count == chosen {
        *count += 1;
        return odd(value, rng);
    }
    *count += 1;
    let inner: Box<dyn Iterator<Item = &mut Value>> = match value {
        Value::Array(list) => Box::new(list.iter_mut()),
        Value::Object(map) => Box::new(map.values_mut()),
        _ => return,
    };
    inner.for_each(|inner| change(inner, count, chosen, rng));
}

fn odd(value: &mut Value, rng: &mut Rng) {
    if let Some(number) = value.as_i64().filter(|_| rng.chance(0.5)) {
        // Near to what it was, so that more than one reader looks at it.
        let near = [
            number.saturating_add(1),
            number.saturating_sub(1),
            number.saturating_mul(2),
            number / 2,
            number.saturating_mul(100),
        ];
        *value = json!(*rng.pick(&near));
        return;
    }
    let kind = rng.below(10);
    match (value, kind) {
        (Value::Array(list), 0..4) if !list.is_empty() => {
            let at = rng.below(list.len());
            let twin = list[at].clone();
            match kind {
                0 => drop(list.remove(at)),
                1 => list.insert(at, twin),
                2 => list.extend(vec![twin; 40]),
                _ => list.reverse(),
            }
        }
        (Value::Object(map), 0..4) if !map.is_empty() => {
            let key = map.keys().nth(rng.below(map.len())).unwrap().clone();
            let twin = map.remove(&key).unwrap();
            if kind > 0 {
                map.insert(format!("{key}{}", rng.pick(&WORDS)), twin);
            }
        }
        (Value::String(text), 0..6) => {
            let changed = bytes(text.as_bytes(), b"abc", rng);
            *text = String::from_utf8_lossy(&changed).into_owned();
        }
        (value, 4) => {
            let depth = *rng.pick(&[3, 60, 126, 140]);
            *value = (0..depth).fold(value.take(), |inner, _| json!([inner]));
        }
        (value, 5) => *value = json!("x".repeat(1 << rng.below(14))),
        (value, 6) => *value = json!([value.take()]),
        (value, 7) => {
            *value = rng.pick(&[json!(null), json!(true), json!({}), json!([]), json!("12"), json!(0.5)]).clone();
        }
        (value, 8) => *value = json!(*rng.pick(&[1e308, -1e308, 1e-320, 0.1, -0.0, 1e20])),
        (value, _) => *value = json!(*rng.pick(&NUMBERS)),
    }
}

/// A PNG whose checks are right again: without them nothing behind the first check is reached.
pub(crate) fn with_checks(mut png: Vec<u8>) -> Vec<u8> {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize) {
        let end = at.saturating_add(8).saturating_add(length);
        let Some(body) = png.get(at + 4..end) else { break };
        let check = crc(body).to_be_bytes();
        png.iter_mut().skip(end).zip(check).for_each(|(to, from)| *to = from);
        at = end + 4;
    }
    png
}

fn crc(bytes: &[u8]) -> u32 {
    let bit = |c: u32| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
    !bytes.iter().fold(!0, |c, byte| (0..8).fold(c ^ u32::from(*byte), |c, _| bit(c)))
}
