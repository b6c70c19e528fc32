//! Answers compared as the VQA challenge does, with ten people's, in the two forms that lmms-eval 0.7.3 has of it.

use super::python::{is_digit, split, strip};

/// What is taken from texts: each kind of mark by itself.
const MARKS: &str = ";/[]\"{}()=+\\_-><@`,?!";
/// How many full stops are taken from a text: a flag stands where a count is meant.
const STOPS: usize = 32;
/// Words for numbers, from 0 on; "none" is 0, too.
const NUMBERS: [&str; 11] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

/// Short forms that get their apostrophes back: each as it should be, and after it as it may be written.
const SHORT_FORMS: &str = "\
ain't aint|aren't arent|can't cant|could've couldve|couldn't couldnt|couldn't've couldn'tve couldnt've|didn't didnt|doesn't doesnt\
|don't dont|hadn't hadnt|hadn't've hadnt've hadn'tve|hasn't hasnt|haven't havent|he'd hed|he'd've hed've he'dve|he's hes|how'd howd\
|how'll howll|how's hows|isn't isnt|it'd itd|it'd've itd've it'dve|it'll itll|ma'am maam|mightn't mightnt|mightn't've mightnt've mightn'tve\
|might've mightve|mustn't mustnt|must've mustve|needn't neednt|not've notve|o'clock oclock|oughtn't oughtnt|'ow's'at ow's'at 'ows'at 'ow'sat\
|shan't shant|she'd've shed've she'dve|should've shouldve|shouldn't shouldnt|shouldn't've shouldnt've shouldn'tve|somebodyd somebody'd\
|somebody'd've somebodyd've somebody'dve|somebody'll somebodyll|somebody's somebodys|someone'd someoned|someone'd've someoned've someone'dve\
|someone'll someonell|someone's someones|something'd somethingd|something'd've somethingd've something'dve|something'll somethingll\
|that's thats|there'd thered|there'd've thered've there'dve|there're therere|there's theres|they'd theyd|they'd've theyd've they'dve\
|they'll theyll|they're theyre|they've theyve|'twas twas|wasn't wasnt|we'd've wed've we'dve|we've weve|weren't werent|what'll whatll\
|what're whatre|what's whats|what've whatve|when's whens|where'd whered|where's wheres|where've whereve|who'd whod|who'd've whod've who'dve\
|who'll wholl|who's whos|who've whove|why'll whyll|why're whyre|why's whys|won't wont|would've wouldve|wouldn't wouldnt\
|wouldn't've wouldnt've wouldn'tve|y'all yall|y'all'll yall'll y'allll|y'all'd've yall'd've y'alld've y'all'dve|you'd youd\
|you'd've youd've you'dve|you'll youll|you're youre|you've youve";

/// The short form with its apostrophes, if there is one written so.
fn mended(word: &str) -> Option<&'static str> {
    SHORT_FORMS.split('|').find_map(|entry| {
        let (right, written) = entry.split_once(' ')?;
        written.split(' ').any(|form| form == word).then_some(right)
    })
}

/// Without marks. Whether a mark goes or becomes a blank is decided by the text as it comes.
pub(super) fn without_marks(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    // A digit, commas, a digit.
    let thousands = chars.split(|c| *c != ',' && !is_digit(*c)).any(|run| {
        let run = run.iter().collect::<String>();
        let inner = run.trim_matches(',');
        inner.contains(',')
    });
    let mut out = text.to_owned();
    for mark in MARKS.chars().filter(|mark| text.contains(*mark)) {
        let touches = text.contains(&format!("{mark} ")) || text.contains(&format!(" {mark}"));
        out = out.replace(mark, if touches || thousands { "" } else { " " });
    }
    let (mut stops, mut rest) = (0, out.chars().peekable());
    let mut kept = String::with_capacity(out.len());
    while let Some(c) = rest.next() {
        let goes = c == '.' && stops < STOPS && !rest.peek().is_some_and(|next| is_digit(*next));
        if goes {
            stops += 1;
        } else {
            kept.push(c);
        }
    }
    kept
}

/// Numbers as digits, no articles, apostrophes where they belong, single blanks.
fn in_words(text: &str) -> String {
    let lower = text.to_lowercase();
    let number = |word: &str| if word == "none" { Some(0) } else { NUMBERS.iter().position(|n| *n == word) };
    let words = split(&lower).filter_map(|word| match number(word) {
        Some(number) => Some(number.to_string()),
        None if ["a", "an", "the"].contains(&word) => None,
        None => Some(mended(word).unwrap_or(word).to_owned()),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\t'], " ")
}

/// How OK-VQA and `TextVQA` read an answer, a reference as well.
pub(super) fn spoken(text: &str) -> String {
    let text = text.to_lowercase().replace([',', '?'], "").replace("'s", " 's");
    in_words(&without_marks(strip(&one_line(strip(&text)))))
}

/// How `VQAv2` does.
pub(super) fn plain(text: &str) -> String {
    in_words(&without_marks(strip(&one_line(text))))
}

/// Mean over people of how far the others agree with an answer: three of them are enough. `others` tells for two people
/// whether the second is another than the first.
pub(super) fn agreement(answer: &str, people: &[String], others: impl Fn(usize, usize) -> bool) -> f64 {
    let of = |i: usize| {
        let same = (0..people.len()).filter(|j| people[*j] == answer && others(i, *j)).count();
        (same as f64 / 3.0).min(1.0)
    };
    (0..people.len()).map(of).sum::<f64>() / people.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_by_what_touches_them() {
        for (text, want) in [
            ("kite;-pier-otter", "kite pier otter"),
            ("kite / pier", "kite pier"),
            ("kite-pier - red", "kitepier red"),
            ("1,000-2", "10002"),
            ("5. and 5.5", "5 and 5.5"),
            ("The two dogs arent a pair.", "2 dogs aren't pair"),
        ] {
            assert_eq!(plain(text), want, "{text}");
        }
        assert_eq!(plain(&".".repeat(40)), "........");
        assert_eq!(spoken("The dog's, or cat's?"), "dog 's or cat 's");
    }

    #[test]
    fn three_others_are_enough() {
        let people: Vec<String> = [["a"; 4].as_slice(), &["b"; 6]].concat().iter().map(ToString::to_string).collect();
        let of = |answer, count: usize| agreement(answer, &people[..count], |i, j| i != j);
        assert!((of("a", 10) - 1.0).abs() < 1e-12 && of("c", 10) == 0.0);
        // One who says it has no other; three of four have two.
        assert_eq!(of("a", 1), 0.0);
        assert!((of("a", 4) - 1.0).abs() < 1e-12 && (of("a", 3) - 2.0 / 3.0).abs() < 1e-12);
    }
}
