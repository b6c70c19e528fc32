//! Text as Python's methods treat it, where Rust's differ.

use std::borrow::Cow;

/// Blank for `str.strip` and `str.split`: also the four separators of information.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip()`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// `str.split()`.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_blank).filter(|word| !word.is_empty())
}

/// `str.capitalize()`: the first letter in title case, all others in lower case.
pub(super) fn capitalize(text: &str) -> String {
    let Some(first) = text.chars().next() else { return String::new() };
    // A sigma is final by what stands before it, so that the whole is lowered.
    let lower = text.to_lowercase();
    title(first).chars().chain(lower.chars().skip(first.to_lowercase().count())).collect()
}

/// A letter in title case: in upper case, of several letters the first, but for what Unicode names one by one.
fn title(letter: char) -> Cow<'static, str> {
    let moved = |by: i32| Cow::from(char::from_u32((letter as i32 + by) as u32).unwrap_or(letter).to_string());
    match letter as u32 {
        0x149 => "\u{2bc}N".into(),
        0x1c4..=0x1c6 => "\u{1c5}".into(),
        0x1c7..=0x1c9 => "\u{1c8}".into(),
        0x1ca..=0x1cc => "\u{1cb}".into(),
        0x1f1..=0x1f3 => "\u{1f2}".into(),
        // Georgian has no capitals at the start of a sentence.
        0x10d0..=0x10ff => moved(0),
        // Greek with iota below.
        code @ 0x1f80..=0x1faf => moved(if code & 8 == 0 { 8 } else { 0 }),
        0x1fb3 | 0x1fc3 | 0x1ff3 => moved(9),
        0x1fbc | 0x1fcc | 0x1ffc => moved(0),
        0x1fb2 => "\u{1fba}\u{345}".into(),
        0x1fb4 => "\u{386}\u{345}".into(),
        0x1fb7 => "\u{391}\u{342}\u{345}".into(),
        0x1fc2 => "\u{1fca}\u{345}".into(),
        0x1fc4 => "\u{389}\u{345}".into(),
        0x1fc7 => "\u{397}\u{342}\u{345}".into(),
        0x1ff2 => "\u{1ffa}\u{345}".into(),
        0x1ff4 => "\u{38f}\u{345}".into(),
        0x1ff7 => "\u{3a9}\u{342}\u{345}".into(),
        _ => {
            let mut upper = letter.to_uppercase();
            upper.next().into_iter().chain(upper.flat_map(char::to_lowercase)).collect::<String>().into()
        }
    }
}

/// Zeros of the decimal digits of all scripts: nine more follow each (Unicode 14, category Nd).
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620,
    0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0,
    0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60,
    0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// `\d` of a regular expression over text.
pub(super) fn is_digit(c: char) -> bool {
    let at = ZEROS.partition_point(|zero| *zero <= c as u32);
    at > 0 && c as u32 - ZEROS[at - 1] < 10
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that Python 3.11 gives.
    #[test]
    fn text_is_as_python_treats_it() {
        assert_eq!(strip("\u{1c} \u{a0}a\u{200b} \u{85}\u{3000}"), "a\u{200b}");
        assert_eq!(split(" a\u{1f}b  c\t").collect::<Vec<_>>(), ["a", "b", "c"]);
        for (text, want) in [
            ("what IS it?", "What is it?"),
            ("ßA", "Ssa"),
            ("ﬁX", "Fix"),
            ("ǆA", "ǅa"),
            ("ΑΣ", "Ας"),
            ("ΣΑΣ Β", "Σας β"),
            ("ᾳΑ", "ᾼα"),
            ("ŉA", "\u{2bc}Na"),
            ("აბ", "აბ"),
            ("İA", "İa"),
            ("", ""),
        ] {
            assert_eq!(capitalize(text), want, "{text}");
        }
        assert!("09٣८９𝟗".chars().all(is_digit) && !"a²½Ⅷ/:٫".chars().any(is_digit));
    }
}
