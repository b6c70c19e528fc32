//! Questions: what is sent, what is shown of the answer, and the probes.

use eframe::egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use hive::app::Control;
use hive::app::panels::ask::{ask_ui, example_questions, probes_ui, verdict};
use hive::app::panels::cuts::cuts_ui;
use hive::app::{Origin, Picture};
use hive::engine::{Answer, Command, Cut, Event, Probe, ProbeKind, Word};

use super::common::{Bench, harness, opened, pixels};

fn bench() -> Bench {
    let mut bench = opened();
    let right = Some(("what is it ?".to_owned(), "dog".to_owned()));
    bench.state.picture = Some(Picture { origin: Origin::HeldOut(12), pixels: pixels(), right });
    bench
}

fn shown(bench: Bench) -> Harness<'static, Bench> {
    let mut harness = harness(bench, |ui, s, f, out| {
        ask_ui(ui, s, &mut f.ask, out);
        probes_ui(ui, s);
        cuts_ui(ui, s, out);
    });
    harness.run_steps(3);
    harness
}

fn word(text: &str, probability: f32) -> Word {
    Word { text: text.into(), probability }
}

fn asked() -> Harness<'static, Bench> {
    let mut harness = shown(bench());
    harness.state_mut().state.question = "what is it ?".into();
    harness.run_steps(2);
    harness.get_by_label("Ask").click();
    harness.run_steps(3);
    harness
}

fn answer(text: &str) -> Answer {
    Answer {
        id: 1,
        words: vec![word(text, 0.93)],
        probability: 0.91,
        probes: vec![
            Probe { kind: ProbeKind::Blindfold, words: vec![word("cat", 0.4)], original: 0.12 },
            Probe { kind: ProbeKind::Swap, words: vec![word("sun", 0.7)], original: 0.03 },
        ],
        maps: None,
        unknown: Vec::new(),
    }
}

fn answered(answer: Answer) -> Harness<'static, Bench> {
    let mut harness = asked();
    harness.state_mut().tell(Event::Answered(Box::new(answer)));
    harness.run();
    harness
}

#[test]
fn without_model_or_picture_it_says_what_to_do() {
    let empty = Bench::default();
    shown(empty).get_by_label_contains("Once the model is loaded");
    shown(opened()).get_by_label_contains("Choose a picture at the left");
}

#[test]
fn asking_sends_the_question() {
    let mut harness = asked();
    let bench = harness.state_mut();
    let [Command::Ask(question)] = &bench.out[..] else { panic!("{:?}", bench.out) };
    assert_eq!((question.id, question.text.as_str()), (1, "what is it ?"));
    assert!(question.other.is_none());
    assert_eq!(question.pixels, pixels());
    assert_eq!((bench.state.asked.id, bench.state.asked.busy), (1, true));
    // the next one has another number, and the other picture when there is one
    bench.state.asked.busy = false;
    bench.state.other = Some(Picture { origin: Origin::File("other".into()), pixels: pixels(), right: None });
    harness.run_steps(2);
    harness.get_by_label("Ask").click();
    harness.run_steps(3);
    let Some(Command::Ask(question)) = harness.state().out.last() else { panic!() };
    assert_eq!(question.id, 2);
    assert!(question.other.is_some());
}

#[test]
fn enter_asks_what_was_typed() {
    let mut harness = shown(bench());
    harness.get_by_label("Question").focus();
    harness.run_steps(2);
    harness.get_by_label("Question").type_text("where is the dog");
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    let [Command::Ask(question)] = &harness.state().out[..] else { panic!("{:?}", harness.state().out) };
    assert_eq!(question.text, "where is the dog");
}

#[test]
fn nothing_typed_sends_nothing() {
    let mut harness = shown(bench());
    harness.get_by_label("Ask").click();
    harness.run_steps(2);
    harness.state_mut().state.question = " ? ".into();
    harness.run_steps(2);
    harness.get_by_label("Ask").click();
    harness.run_steps(2);
    assert!(harness.state().out.is_empty());
}

#[test]
fn examples_fill_the_field() {
    let questions = example_questions("pictures");
    assert_eq!(questions.len(), 5, "one of each kind: {questions:?}");
    assert!(questions.iter().any(|q| q == "how many things are there ?"), "{questions:?}");
    assert!(example_questions("folder").is_empty());
    let mut harness = shown(bench());
    harness.get_by_label("how many things are there ?").click();
    harness.run_steps(2);
    assert_eq!(harness.state().state.question, "how many things are there ?");
}

#[test]
fn words_come_with_their_probability() {
    let mut harness = asked();
    harness.get_by_label("thinking");
    harness.state_mut().tell(Event::Token { id: 1, word: word("dog", 0.93) });
    harness.run_steps(2);
    harness.get_by_label("dog 0.93");
    harness.state_mut().tell(Event::Token { id: 7, word: word("sun", 0.5) });
    harness.run_steps(2);
    assert!(harness.query_by_label("sun 0.50").is_none(), "of another question");
}

#[test]
fn a_busy_question_can_be_cancelled() {
    let mut harness = asked();
    harness.get_by_label("Cancel").click();
    harness.run_steps(3);
    assert!(matches!(harness.state().out[..], [Command::Ask(_), Command::Cancel]));
    let done = answered(answer("dog"));
    assert!(done.query_by_label("Cancel").is_none());
}

#[test]
fn right_and_wrong_are_words() {
    let right = answered(answer("dog"));
    right.get_by_label("right");
    right.get_by_label("probability of the whole answer 0.91");
    let wrong = answered(answer("cat"));
    wrong.get_by_label("wrong");
    wrong.get_by_label("the right answer is dog");
    assert!(wrong.query_by_label("right").is_none());
    let right = ("what is it ?".to_owned(), "dog".to_owned());
    assert_eq!(verdict("What is it", &[word("dog", 1.0)], Some(&right)), Some(true));
    assert_eq!(verdict("where is it ?", &[word("dog", 1.0)], Some(&right)), None);
}

#[test]
fn probes_tell_the_change() {
    let mut harness = answered(answer("dog"));
    for text in ["blindfold", "cat", "0.91 → 0.12", "another picture", "sun", "0.91 → 0.03"] {
        harness.get_by_label(text);
    }
    harness.state_mut().state.link.hide.push(Control::Probes);
    harness.run();
    assert!(harness.query_by_label("blindfold").is_none());
}

#[test]
fn each_link_is_cut_and_what_changes_is_said() {
    let mut harness = answered(answer("dog"));
    harness.get_by_label("Cut each link").click();
    harness.run();
    let Some(Command::CutLinks(question)) = harness.state().out.last() else { panic!() };
    assert_eq!((question.id, question.text.as_str()), (1, "what is it ?"));
    harness.get_by_label("Stop");
    let tell = |harness: &mut Harness<'_, Bench>, links: &[(usize, usize)], text, original| {
        let cut = Cut { links: links.to_vec(), words: vec![word(text, 0.5)], original };
        harness.state_mut().tell(Event::Cut { id: 1, cut, of: 4 });
        harness.run();
    };
    tell(&mut harness, &[], "dog", 0.9);
    tell(&mut harness, &[(0, 4)], "cat", 0.08);
    harness.get_by_label("asking, 2 of 4");
    tell(&mut harness, &[(2, 1)], "dog", 0.7);
    tell(&mut harness, &[(0, 4), (2, 1)], "cat", 0.03);
    for text in ["nothing cut", "layer 1, depth 4", "0.90 → 0.08", "instead of dog", "the same", "every link"] {
        assert!(harness.query_all_by_label(text).count() > 0, "{text}");
    }
    harness.get_by_label_contains("The answer leans most on layer 1: without depth 4");
    assert!(harness.query_by_label_contains("has trained since").is_none());
    harness.get_by_label("Cut each link");
    // Once more, and stopped; what comes late of a stopped round is shown, and begins no new wait.
    harness.get_by_label("Cut each link").click();
    harness.run();
    harness.get_by_label("Stop").click();
    harness.run();
    assert!(matches!(harness.state().out.last(), Some(Command::Cancel)));
    tell(&mut harness, &[], "cat", 0.6);
    harness.get_by_label("Cut each link");
    harness.get_by_label("The model has trained since: now it answers cat.");
    harness.state_mut().state.link.hide.push(Control::Cuts);
    harness.run();
    assert!(harness.query_by_label("Cut each link").is_none());
}

#[test]
fn unknown_words_and_empty_answers_are_told() {
    let odd = Answer { unknown: vec!["zebra".into(), "unicorn".into()], words: Vec::new(), ..answer("dog") };
    let harness = answered(odd);
    harness.get_by_label("the model does not know: zebra, unicorn");
    harness.get_by_label("The model ended its answer before the first word.");
}

#[test]
fn pinning_tells_the_session() {
    let mut harness = answered(answer("dog"));
    harness.get_by_label("Pin for replay").click();
    harness.run();
    let Some(Command::Pin(Some(question))) = harness.state().out.last() else { panic!() };
    assert_eq!(question.text, "what is it ?");
    assert_eq!(harness.state().state.pinned.as_ref().map(|p| p.question.as_str()), Some("what is it ?"));
    harness.get_by_label("Pin for replay").click();
    harness.run();
    assert!(matches!(harness.state().out.last(), Some(Command::Pin(None))));
    assert_eq!(harness.state().state.pinned, None);
}

#[test]
fn a_link_can_hide_it() {
    let mut bench = bench();
    bench.state.link.hide.push(Control::Ask);
    assert!(shown(bench).query_by_label("Ask").is_none());
}
