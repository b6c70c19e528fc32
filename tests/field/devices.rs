//! Devices that fail: lost before the first step or later, and without memory in training, in a question, or for another recipe.

use std::sync::OnceLock;

use hive::engine::runfile::RunFile;
use hive::engine::{Command, Event, Failure, FaultKind, GpuOptions, Stage, StageRecipe, Steps, assets};

use super::session::{Driver, question};

fn recipe() -> StageRecipe {
    assets::preset("tiny").unwrap().stage(Stage::Connector).unwrap().clone()
}

/// Update, and the bits of loss and gradient norm.
type Curve = Vec<(u64, u32, u32)>;

/// The curve of stage 1 that nothing disturbed.
fn undisturbed() -> Option<&'static Curve> {
    static CURVE: OnceLock<Option<Curve>> = OnceLock::new();
    let train = || {
        let mut d = Driver::start(GpuOptions::default())?;
        d.open_tiny();
        d.send(Command::Train(Steps::Stage));
        d.until(|e| matches!(e, Event::StageDone(_)).then_some(()));
        Some(d.losses())
    };
    CURVE.get_or_init(train).as_ref()
}

#[test]
fn a_device_that_is_lost_at_any_submission_trains_what_it_promised() {
    let Some(curve) = undisturbed() else { return };
    // Before the first step (held-out questions are asked), and in steps.
    for after in [0, 60] {
        let mut d = Driver::start(GpuOptions::default()).unwrap();
        d.open_tiny();
        d.send(Command::Fail(Failure::Loss(after)));
        d.send(Command::Train(Steps::Stage));
        d.until(|e| matches!(e, Event::StageDone(_)).then_some(()));
        assert_eq!(d.losses(), *curve, "lost at submission {after}");
        assert!(d.faults.iter().all(|f| f.kind == FaultKind::DeviceLost) && d.faults.len() < 2, "{:?}", d.faults);
    }
}

#[test]
fn training_without_memory_stops_with_a_smaller_batch_and_everything_goes_on_afterwards() {
    let Some(curve) = undisturbed() else { return };
    let mut d = Driver::start(GpuOptions::default()).unwrap();
    d.open_tiny();
    d.send(Command::Fail(Failure::Memory(3)));
    d.send(Command::Train(Steps::Stage));
    let fault = d.fault();
    assert_eq!(fault.kind, FaultKind::OutOfMemory, "{fault:?}");
    assert!(
        fault.remedy.contains("on a new device") && fault.remedy.contains("Set Batch to 1 and Accumulate to 2"),
        "{fault:?}"
    );
    RunFile::unpack(&d.save()).unwrap();
    d.send(Command::Train(Steps::Stage));
    d.until(|e| matches!(e, Event::StageDone(_)).then_some(()));
    assert_eq!(d.losses(), *curve);
    d.send(Command::Ask(question()));
    d.until(|e| matches!(e, Event::Answered(_)).then_some(()));
    d.open_tiny();
    d.send(Command::Train(Steps::Count(1)));
    d.until(|e| matches!(e, Event::Step(_)).then_some(()));
    assert_eq!(d.faults.len(), 1, "{:?}", d.faults);
}

#[test]
fn a_question_without_memory_is_given_up_and_training_loses_nothing() {
    let Some(curve) = undisturbed() else { return };
    let mut d = Driver::start(GpuOptions::default()).unwrap();
    d.open_tiny();
    d.send(Command::Train(Steps::Count(3)));
    d.until(|e| matches!(e, Event::Running(None)).then_some(()));
    d.send(Command::Fail(Failure::Memory(2)));
    d.send(Command::Ask(question()));
    let fault = d.fault();
    assert_eq!(fault.kind, FaultKind::OutOfMemory, "{fault:?}");
    assert!(fault.remedy.contains("What was asked is given up; everything else is as it was"), "{fault:?}");
    assert_eq!(d.losses(), curve[..3]);
    // And beside training.
    d.send(Command::Train(Steps::Stage));
    d.send(Command::Fail(Failure::Memory(0)));
    d.send(Command::Ask(question()));
    d.until(|e| matches!(e, Event::StageDone(_)).then_some(()));
    assert_eq!(d.losses(), *curve);
    assert!(d.faults.len() == 2 && d.faults[1].remedy.contains("training goes on"), "{:?}", d.faults);
    d.send(Command::Ask(question()));
    d.until(|e| matches!(e, Event::Answered(_)).then_some(()));
}

#[test]
fn a_recipe_for_which_there_is_no_room_leaves_the_old_one() {
    let Some(curve) = undisturbed() else { return };
    let mut d = Driver::start(GpuOptions::default()).unwrap();
    d.open_tiny();
    d.send(Command::Train(Steps::Count(2)));
    d.until(|e| matches!(e, Event::Running(None)).then_some(()));
    // More than a buffer holds: told with the most that fits.
    let kept = |e: &Event| if let Event::Recipe(stage, kept) = e { Some((*stage, kept.batch)) } else { None };
    d.send(Command::Recipe(Stage::Connector, Box::new(StageRecipe { batch: 20_000, ..recipe() })));
    assert_eq!(d.until(kept), (Stage::Connector, 2), "the window is told what stays");
    let fault = d.fault();
    assert!(fault.what.contains("batch of 20000 needs") && fault.what.contains("fit"), "{fault:?}");
    // More than is there: the driver refuses.
    d.send(Command::Fail(Failure::Memory(1)));
    d.send(Command::Recipe(Stage::Connector, Box::new(StageRecipe { batch: 4, ..recipe() })));
    assert_eq!(d.fault().kind, FaultKind::OutOfMemory);
    // Of a stage that is still to come.
    d.send(Command::Recipe(Stage::Vision, Box::new(StageRecipe { batch: 60_000, ..recipe() })));
    assert_eq!(d.until(kept), (Stage::Vision, 2));
    assert!(d.fault().what.contains("batch of 60000 needs"));
    d.send(Command::Train(Steps::Stage));
    d.until(|e| matches!(e, Event::StageDone(_)).then_some(()));
    assert_eq!(d.losses(), *curve);
}

/// Without memory at the n-th buffer, or lost at the n-th submission, from the first to the last of a stage and a question: it can
/// always be saved, trained on and asked afterwards, and the curve is that of a run that nothing disturbed.
#[test]
#[ignore = "two minutes: `./hive test full` runs it"]
fn a_failure_at_any_place_loses_nothing() {
    let Some(curve) = undisturbed() else { return };
    let places = [0, 1, 2, 5, 12, 30, 70, 150, 300, 420];
    let memory = places.into_iter().map(Failure::Memory);
    for failure in memory.chain(places.into_iter().map(Failure::Loss)) {
        let mut d = Driver::start(GpuOptions::default()).unwrap();
        d.open_tiny();
        d.send(Command::Fail(failure));
        d.send(Command::Train(Steps::Count(2)));
        d.until(|e| matches!(e, Event::Running(None)).then_some(()));
        d.send(Command::Ask(question()));
        d.until(|e| matches!(e, Event::Answered(_) | Event::Fault(_)).then_some(()));
        RunFile::unpack(&d.save()).unwrap();
        d.send(Command::Train(Steps::Stage));
        d.until(|e| matches!(e, Event::StageDone(_)).then_some(()));
        assert_eq!(d.losses(), *curve, "{failure:?}");
        assert!(d.faults.len() < 3, "{failure:?}: {:?}", d.faults);
        d.send(Command::Ask(question()));
        d.until(|e| matches!(e, Event::Answered(_)).then_some(()));
    }
}
