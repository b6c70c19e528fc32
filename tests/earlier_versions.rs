//! Files that version 0.1.0 wrote before the program was put in order: a checkpoint in the middle of stage 2, and a run file
//! of the same run with its curves, scores and attention maps. They open, and training goes on as it did then.

use hive::engine::assets::made_source;
use hive::engine::runfile::RunFile;
use hive::engine::{Lane, Stage};
use hive::platform::block_on;
use hive::train::checkpoint::Checkpoint;
use hive::train::run::Run;

use crate::common::{gpu, repository};

/// Stage and loss of the steps that followed, as the program of then printed them on llvmpipe.
const LOSSES: [(Stage, f32); 6] = [
    (Stage::Adaptation, 3.981_385_7),
    (Stage::Adaptation, 3.995_873_7),
    (Stage::Vision, 3.730_309_2),
    (Stage::Vision, 3.672_494_2),
    (Stage::Vision, 3.527_378_6),
    (Stage::Vision, 3.793_640_6),
];

fn read(name: &str) -> Vec<u8> {
    std::fs::read(repository("tests/earlier_versions").join(name)).unwrap()
}

#[test]
fn a_checkpoint_goes_on_where_it_stopped() {
    let Some(gpu) = gpu() else { return };
    let checkpoint = Checkpoint::from_bytes(&read("stage2.safetensors")).unwrap();
    assert_eq!((checkpoint.meta.stage, checkpoint.meta.update), (Some(Stage::Adaptation), 2));
    assert_eq!(checkpoint.meta.scores.len(), 1);
    let source = made_source(&checkpoint.meta.preset).unwrap().with_tokenizer(checkpoint.meta.tokenizer.clone());
    let mut run = Run::resume(&gpu, checkpoint, source).unwrap();
    let mut losses = Vec::new();
    while let Some(report) = block_on(run.step()).unwrap() {
        losses.push((Stage::Adaptation, report.loss));
    }
    block_on(run.enter(Stage::Vision)).unwrap();
    while let Some(report) = block_on(run.step()).unwrap() {
        losses.push((Stage::Vision, report.loss));
    }
    assert_eq!(losses.len(), LOSSES.len());
    for ((stage, loss), (want_stage, want)) in losses.iter().zip(LOSSES) {
        assert_eq!(*stage, want_stage);
        // Another adapter rounds differently.
        assert!((loss - want).abs() < 1e-3, "{stage:?}: {loss}, then {want}");
    }
}

#[test]
fn a_run_file_has_its_curves_scores_and_maps() {
    let file = RunFile::unpack(&read("run.hiverun")).unwrap();
    assert!(file.control.is_none());
    assert_eq!(file.stages.keys().collect::<Vec<_>>(), ["stage 2"]);
    assert_eq!((file.hive.meta.stage, file.hive.meta.update), (Some(Stage::Vision), 2));
    let log = file.log.unwrap();
    let curve: Vec<(Stage, f32)> = log.points(Lane::Hive).iter().map(|p| (p.stage, p.loss)).collect();
    assert_eq!(curve, LOSSES[..4]);
    assert_eq!((log.scores.len(), log.norms.len(), log.snapshots.len()), (2, 2, 5));
    let blocks: Vec<String> = log.norms[1].norms.iter().map(|(block, _)| block.to_string()).collect();
    assert!(
        ["link 0", "link 1", "decoder 0", "tower 1", "patches"].iter().all(|b| blocks.contains(&(*b).to_owned())),
        "{blocks:?}"
    );
}
