//! Batches: samples as token rows, targets and pixels, ready to be uploaded.
//!
//! Between the samples of `scene` or `folder` and the trainer. A row is a conversation about one image:
//! `<s>`, then for every turn the words of the question, the words of the answer, `</s>`. Labels align with ids (the model
//! shifts them). The image stands before `<s>`, so every position sees it and all offsets are 0.

use super::tokenizer::{END, PAD, START, Tokenizer};
use super::worlds::Sample;

/// The label of positions that are no targets.
pub const NO_TARGET: i32 = -100;

/// B rows of T tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// B.
    pub rows: usize,
    /// T, in tokens.
    pub tokens: usize,
    /// `(B, 3, S, S)`, -1 to 1; empty in text-only batches.
    pub pixels: Vec<f32>,
    /// `(B, T)`, filled up on the right with 0.
    pub ids: Vec<u32>,
    /// `(B, T)`: the id at targets, -100 elsewhere.
    pub labels: Vec<i32>,
    /// For each look at a told picture its words: row, patch, id. See [`Sample::facts`].
    pub told: Vec<Vec<[u32; 3]>>,
    /// `(B)`: tokens before the filling.
    pub lengths: Vec<u32>,
    /// `(B)`: always 0, the image stands before the text.
    pub offset: Vec<u32>,
    /// Per row the kind of its turn, `conversation` with several turns, `text` with none.
    pub kinds: Vec<&'static str>,
    /// Per row the number of things in the image.
    pub things: Vec<usize>,
    /// Per row the first question.
    pub questions: Vec<String>,
    /// Per row the first answer.
    pub answers: Vec<String>,
    /// Per row whether its only turn is longer than T and was cut: the answer is incomplete or missing.
    pub cut: Vec<bool>,
}

/// B images with a class for every patch, to pre-train the vision tower.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatchBatch {
    /// B.
    pub rows: usize,
    /// `(B, 3, S, S)`, -1 to 1.
    pub pixels: Vec<f32>,
    /// For each label head `(B, N)` classes; 0 is "none", and a target like every other class.
    pub labels: Vec<Vec<i32>>,
}

/// A row being built.
#[derive(Default)]
struct Row {
    ids: Vec<u32>,
    labels: Vec<i32>,
    turns: usize,
    cut: bool,
}

impl Row {
    fn new() -> Self {
        Self { ids: vec![START], labels: vec![NO_TARGET], ..Self::default() }
    }

    /// Appends a question and its answer unless that would make the row longer than `tokens`. The first turn is cut instead.
    /// A description has no answer; its `</s>` is a target all the same, so that texts end.
    fn turn(&mut self, question: &[u32], answer: &[u32], tokens: usize) -> bool {
        let fits = self.ids.len() + question.len() + answer.len() < tokens;
        if !fits && self.ids.len() > 1 {
            return false;
        }
        self.ids.extend(question.iter().chain(answer).chain([&END]));
        let targets = answer.iter().chain([&END]).map(|id| *id as i32);
        self.labels.extend(question.iter().map(|_| NO_TARGET).chain(targets));
        self.ids.truncate(tokens);
        self.labels.truncate(tokens);
        self.cut |= !fits;
        self.turns += 1;
        true
    }
}

/// Training rows: as many whole turns of each sample, in order, as fit in `tokens`. Targets: answers with their `</s>`.
#[must_use]
pub fn conversation(samples: &[Sample], tokenizer: &Tokenizer, tokens: usize) -> Batch {
    build(samples, tokenizer, tokens, usize::MAX, false)
}

/// Evaluation rows: `<s> question answer </s>` with the first turn of each sample. Targets: the answer with its `</s>`.
#[must_use]
pub fn questions(samples: &[Sample], tokenizer: &Tokenizer, tokens: usize) -> Batch {
    build(samples, tokenizer, tokens, 1, false)
}

/// Language model pre-training rows, without pixels: where the sample says so facts in place of the picture, else the description
/// with `</s>`; then as many whole turns as fit. Targets: answers with their `</s>`: reading is learned sooner when no capacity goes into wording.
#[must_use]
pub fn text(samples: &[Sample], tokenizer: &Tokenizer, tokens: usize) -> Batch {
    let mut batch = build(samples, tokenizer, tokens, usize::MAX, true);
    batch.pixels = Vec::new();
    batch
}

fn build(samples: &[Sample], tokenizer: &Tokenizer, tokens: usize, most_turns: usize, text: bool) -> Batch {
    let mut batch = Batch { rows: samples.len(), tokens, offset: vec![0; samples.len()], ..Batch::default() };
    for sample in samples {
        let mut row = Row::new();
        if text && sample.described && !sample.facts.is_empty() {
            batch.told.resize(sample.facts.len(), Vec::new());
            for (told, facts) in batch.told.iter_mut().zip(&sample.facts) {
                let at = batch.lengths.len() as u32;
                for (patch, words) in facts {
                    told.extend(tokenizer.encode(words).into_iter().map(|id| [at, *patch as u32, id]));
                }
            }
        } else if text && sample.described && !sample.description.is_empty() {
            row.turn(&tokenizer.encode(&sample.description), &[], tokens);
            row.turns = 0;
        }
        for turn in sample.turns.iter().take(most_turns) {
            if !row.turn(&tokenizer.encode(&turn.question), &tokenizer.encode(&turn.answer), tokens) {
                break;
            }
        }
        batch.lengths.push(row.ids.len() as u32);
        row.ids.resize(tokens, PAD);
        row.labels.resize(tokens, NO_TARGET);
        batch.ids.extend(row.ids);
        batch.labels.extend(row.labels);
        batch.cut.push(row.cut);
        let first = sample.turns.first();
        batch.kinds.push(match row.turns {
            0 => "text",
            1 => first.map_or("text", |t| t.kind),
            _ => "conversation",
        });
        batch.things.push(sample.things);
        batch.questions.push(first.map_or_else(String::new, |t| t.question.clone()));
        batch.answers.push(first.map_or_else(String::new, |t| t.answer.clone()));
        if !text {
            batch.pixels.extend_from_slice(&sample.pixels);
        }
    }
    batch
}

/// Tower pre-training rows: the images and the classes of their patches.
#[must_use]
pub fn patches(samples: &[Sample]) -> PatchBatch {
    let heads = samples.first().map_or(0, |s| s.patch_labels.len());
    let labels = (0..heads)
        .map(|h| samples.iter().flat_map(|s| s.patch_labels[h].iter().map(|c| *c as i32)).collect())
        .collect();
    PatchBatch { rows: samples.len(), pixels: samples.iter().flat_map(|s| s.pixels.iter().copied()).collect(), labels }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::Dataset;
    use super::super::worlds::{Split, Turn};
    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::new(Dataset::Pictures.words()).unwrap()
    }

    fn sample(turns: &[(&str, &str)]) -> Sample {
        let turn = |t: &(&str, &str)| Turn { kind: "what", question: t.0.to_owned(), answer: t.1.to_owned() };
        Sample {
            pixels: vec![0.5; 3],
            things: 1,
            turns: turns.iter().map(turn).collect(),
            patch_labels: vec![vec![1, 0]],
            seen: Vec::new(),
            description: "a dog at the top left".to_owned(),
            facts: Vec::new(),
            described: true,
        }
    }

    #[test]
    fn rows_have_whole_turns_and_answers_as_targets() {
        let t = tokenizer();
        let samples = [
            sample(&[("what is it ?", "dog"), ("where is the dog ?", "top left")]),
            sample(&[("what is it ?", "cat")]),
        ];
        let batch = conversation(&samples, &t, 16);
        assert_eq!(t.decode(&batch.ids[..16]), "what is it ? dog where is the dog ? top left");
        assert_eq!((batch.lengths.as_slice(), batch.offset.as_slice()), ([15, 7].as_slice(), [0, 0].as_slice()));
        let id = |w: &str| t.id(w).unwrap() as i32;
        let mut labels = vec![NO_TARGET; 16];
        for (at, word) in [(5, "dog"), (6, "</s>"), (12, "top"), (13, "left"), (14, "</s>")] {
            labels[at] = id(word);
        }
        assert_eq!(batch.labels[..16], labels);
        assert_eq!((batch.kinds, batch.pixels.len(), batch.cut), (vec!["conversation", "what"], 6, vec![false; 2]));
        // one token less than the second turn needs, and one more than fits at all
        assert_eq!(conversation(&samples, &t, 14).lengths, [7, 7]);
        let cut = conversation(&samples, &t, 6);
        assert_eq!((cut.lengths, cut.cut, cut.labels[5]), (vec![6, 6], vec![true; 2], id("dog")));
        assert_eq!(questions(&samples, &t, 16).lengths, [7, 7]);
    }

    #[test]
    fn text_rows_start_with_the_description() {
        let t = tokenizer();
        let batch = text(&[sample(&[("what is it ?", "dog")])], &t, 16);
        assert_eq!(t.decode(&batch.ids), "a dog at the top left what is it ? dog");
        assert_eq!((batch.lengths[0], batch.pixels.len(), batch.labels[0]), (14, 0, NO_TARGET));
        // the end of the description, the answer and its end
        let targets: Vec<usize> = (0..16).filter(|i| batch.labels[*i] != NO_TARGET).collect();
        assert_eq!(targets, [7, 12, 13]);
        assert!(targets.iter().all(|i| batch.labels[*i] == batch.ids[*i] as i32));
    }

    #[test]
    fn facts_stand_at_patches() {
        let t = tokenizer();
        let mut told = sample(&[("what is it ?", "dog")]);
        told.facts = vec![vec![(5, "dog top".to_owned())], vec![(9, "left".to_owned())]];
        let silent = Sample { described: false, ..told.clone() };
        let batch = text(&[silent, told], &t, 12);
        assert_eq!(t.decode(&batch.ids[12..]), "what is it ? dog");
        assert_eq!(batch.lengths, [7, 7]);
        let id = |w: &str| t.id(w).unwrap();
        assert_eq!(batch.told, [vec![[1, 5, id("dog")], [1, 5, id("top")]], vec![[1, 9, id("left")]]]);
    }

    #[test]
    fn batches_of_the_data_sets_have_their_shapes() {
        for d in Dataset::ALL {
            let t = Tokenizer::new(d.words()).unwrap();
            let samples = d.samples(Split::Train, 1, 0, 3, 6);
            let batch = conversation(&samples, &t, 48);
            assert_eq!((batch.ids.len(), batch.pixels.len()), (3 * 48, 3 * 3 * d.image_size() * d.image_size()));
            let patches = patches(&samples);
            assert_eq!(patches.labels.len(), d.label_classes().len());
            assert!(patches.labels.iter().all(|l| l.len() == 3 * 64));
        }
    }
}
