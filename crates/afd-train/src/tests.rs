//! Properties of the loop on a model small enough to follow.

use std::{cell::RefCell, path::Path};

use afd_backend::device::{repeats_bits, test_device};
use burn::{
    Tensor,
    module::{Module, Param, ParamId},
};

use crate::{
    BoxError, Error, Hooks, Loss, Objective, Snapshots, TrainConfig, config::tests::config, train,
};

/// `w·x + b`: a matrix, which weight decay shrinks, and a vector, which it does not.
#[derive(Module, Debug)]
struct Line {
    w: Param<Tensor<2>>,
    b: Param<Tensor<1>>,
}

impl Line {
    fn new(w: f32, b: f32) -> Self {
        let device = test_device();
        let param = |id, value| Param::initialized(ParamId::from(id), value);
        Self {
            w: param(1, Tensor::<1>::from_data([w], &device)).map_rank(),
            b: Param::initialized(ParamId::from(2), Tensor::from_data([b], &device))
                .set_require_grad(true),
        }
    }

    fn values(&self) -> (f32, f32) {
        (
            self.w.base().into_scalar::<f32>(),
            self.b.base().into_scalar::<f32>(),
        )
    }

    fn save(&self, dir: &Path) -> Result<(), BoxError> {
        let (w, b) = self.values();
        Ok(std::fs::write(
            dir.join("line"),
            [w.to_le_bytes(), b.to_le_bytes()].concat(),
        )?)
    }

    fn load(dir: &Path) -> Result<Self, BoxError> {
        let bytes = std::fs::read(dir.join("line"))?;
        let value = |at: usize| f32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        Ok(Self::new(value(0), value(4)))
    }
}

/// Rank 1 to the `[1, 1]` matrix a weight is.
trait MapRank {
    fn map_rank(self) -> Param<Tensor<2>>;
}

impl MapRank for Param<Tensor<1>> {
    fn map_rank(self) -> Param<Tensor<2>> {
        Param::initialized(self.id, self.base().reshape([1, 1])).set_require_grad(true)
    }
}

/// Squared error, example `i` weighing as much as it says.
struct Squares(Vec<(f32, f32, f64)>);

impl Objective<Line> for Squares {
    type Collator = ();
    type Batch = Vec<(f32, f32, f64)>;

    fn weight(&self, example: usize) -> f64 {
        self.0[example].2
    }

    fn tokens(&self, _example: usize) -> u64 {
        1
    }

    fn collator(&self, _model: &Line) {}

    fn batch(&self, (): &(), examples: &[usize]) -> Self::Batch {
        examples.iter().map(|&i| self.0[i]).collect()
    }

    fn loss(&self, model: &Line, examples: &[usize], batch: Self::Batch, _: Option<u64>) -> Loss {
        let column = |f: fn(&(f32, f32, f64)) -> f32| {
            let values: Vec<f32> = batch.iter().map(f).collect();
            Tensor::<1>::from_data(values.as_slice(), &test_device())
        };
        let n = examples.len();
        let x = column(|e| e.0).reshape([n, 1]);
        let prediction = x.matmul(model.w.base()).reshape([n]) + model.b.base();
        let error = (prediction - column(|e| e.1)).square();
        Loss {
            sum: (error * column(|e| e.2 as f32)).sum(),
            metrics: vec![("examples", n as f64)],
        }
    }
}

fn data() -> Squares {
    let row = |i: i32| {
        (
            i as f32 * 0.37 - 1.1,
            (i * i % 7) as f32 * 0.2,
            1.0 + f64::from(i % 3),
        )
    };
    Squares((0..16).map(row).collect())
}

/// Steps of eight examples, in micro-batches of `micro`, shuffled by the epoch.
fn plan(micro: usize) -> impl Fn(u64) -> Vec<Vec<Vec<usize>>> {
    move |epoch| {
        let order: Vec<usize> = (0..16).map(|i| (i * 5 + epoch as usize * 3) % 16).collect();
        let step = |step: &[usize]| step.chunks(micro).map(<[usize]>::to_vec).collect();
        order.chunks(8).map(step).collect()
    }
}

type Lines = RefCell<Vec<(u64, Vec<(String, f64)>)>>;

fn run(dir: &Path, config: &TrainConfig, micro: usize, log: &Lines) -> Result<Line, Error> {
    run_on(&data(), dir, config, micro, log)
}

fn run_on(
    data: &Squares,
    dir: &Path,
    config: &TrainConfig,
    micro: usize,
    log: &Lines,
) -> Result<Line, Error> {
    let hooks = Hooks {
        dir,
        save: &|model: &Line, dir| model.save(dir),
        load: &|dir| Line::load(dir),
        log: &|step, values| {
            let values = values
                .iter()
                .map(|(name, v)| ((*name).to_owned(), *v))
                .collect();
            log.borrow_mut().push((step, values));
            Ok(())
        },
        resumed: &|step| {
            log.borrow_mut().retain(|(logged, _)| *logged <= step);
            Ok(())
        },
        progress: &|_, _, _, _| {},
        snapshots: Snapshots::none(),
    };
    let batches = [vec![0, 1, 2], vec![3]];
    let outcome = train(
        Line::new(0.3, -0.2),
        data,
        &plan(micro),
        Some((data, &batches)),
        config,
        &hooks,
    )?;
    Ok(outcome.model)
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_first_step_on_paper() {
    // One example x = 2, y = 0 on w = 0.3, b = −0.2: error 0.4, gradients 1.6 and 0.8, norm
    // √3.2. Adam's first step is the sign of the gradient times the rate, ε aside; decay takes
    // rate·0.5 of the matrix only.
    let log = Lines::default();
    let hooks_config = TrainConfig {
        weight_decay: 0.5,
        max_steps: 1,
        ..config()
    };
    let data = Squares((0..16).map(|_| (2.0, 0.0, 1.0)).collect());
    let dir = temporary();
    let (w, b) = run_on(&data, dir.path(), &hooks_config, 8, &log)
        .unwrap()
        .values();
    assert!((w - (0.3 * (1.0 - 0.05) - 0.1)).abs() < 1e-5, "{w}");
    assert!((b - (-0.2 - 0.1)).abs() < 1e-5, "{b}");
    let (step, line) = log.borrow()[0].clone();
    let get = |name: &str| line.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(step, 1);
    assert!((get("train/loss") - 0.16).abs() < 1e-6);
    assert!((get("train/grad_norm") - 3.2f64.sqrt()).abs() < 1e-5);
}

#[test]
fn one_batch_of_eight_is_eight_batches_of_one() {
    let trajectories = [8, 2, 1].map(|micro| {
        let (dir, log) = (temporary(), Lines::default());
        let config = TrainConfig {
            num_train_epochs: 10,
            max_grad_norm: 0.5,
            ..config()
        };
        let line = run(dir.path(), &config, micro, &log).unwrap();
        let losses: Vec<f64> = log.borrow().iter().map(|(_, line)| line[0].1).collect();
        (line.values(), losses)
    });
    for (values, losses) in &trajectories[1..] {
        assert!((values.0 - trajectories[0].0.0).abs() < 1e-5);
        assert!((values.1 - trajectories[0].0.1).abs() < 1e-5);
        for (a, b) in losses.iter().zip(&trajectories[0].1) {
            assert!((a - b).abs() < 1e-5, "{a} against {b}");
        }
    }
}

#[test]
fn a_resumed_run_ends_as_an_uninterrupted_one() {
    let whole = TrainConfig {
        num_train_epochs: 10,
        lr_scheduler_type: crate::SchedulerType::Cosine,
        logging_steps: 3,
        eval_steps: 4,
        save_steps: 5,
        load_best_model_at_end: true,
        ..config()
    };
    let (dir, log) = (temporary(), Lines::default());
    let uninterrupted = run(dir.path(), &whole, 4, &log).unwrap().values();
    for kill_at in [1, 7, 13] {
        let (dir, resumed) = (temporary(), Lines::default());
        // A hook that fails is a kill as far as the files can tell.
        let killer = |step: u64| step >= kill_at;
        let data = data();
        let hooks = Hooks {
            dir: dir.path(),
            save: &|model: &Line, dir: &Path| model.save(dir),
            load: &|dir: &Path| Line::load(dir),
            log: &|step, values: &[(&str, f64)]| {
                let values = values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
                resumed.borrow_mut().push((step, values));
                if killer(step) {
                    Err("killed".into())
                } else {
                    Ok(())
                }
            },
            resumed: &|_| Ok(()),
            progress: &|_, _, _, _| {},
            snapshots: Snapshots::none(),
        };
        let batches = [vec![0, 1, 2], vec![3]];
        let evaluation = Some((&data, batches.as_slice()));
        let killed = train(
            Line::new(0.3, -0.2),
            &data,
            &plan(4),
            evaluation,
            &whole,
            &hooks,
        );
        assert!(killed.is_err());
        let values = run(dir.path(), &whole, 4, &resumed).unwrap().values();
        let (names, found) = outcome(&resumed, values);
        let (expected_names, expected) = outcome(&log, uninterrupted);
        assert_eq!(names, expected_names, "killed at {kill_at}");
        for (found, expected) in found.iter().zip(expected) {
            let fine = match repeats_bits(&test_device()) {
                true => *found == expected,
                false => (found - expected).abs() <= 1e-5 * expected.abs().max(1.0),
            };
            assert!(fine, "killed at {kill_at}: {found}, else {expected}");
        }
    }
}

/// Everything a run said and ended with but its speed: names, with their steps, and numbers.
fn outcome(log: &Lines, (w, b): (f32, f32)) -> (Vec<(u64, String)>, Vec<f64>) {
    let mut lines = log.borrow().clone();
    let end = [("w", w), ("b", b)].map(|(name, value)| (name.to_owned(), f64::from(value)));
    lines.push((u64::MAX, end.into()));
    let numbers = lines.into_iter().flat_map(|(step, line)| {
        let quiet = line
            .into_iter()
            .filter(|(name, _)| !name.starts_with("perf"));
        quiet.map(move |(name, value)| ((step, name), value))
    });
    numbers.unzip()
}

#[test]
fn the_best_model_is_returned_and_patience_ends_a_run() {
    // A rate far too high: the first evaluation stays the best.
    let config = TrainConfig {
        learning_rate: 50.0,
        num_train_epochs: 20,
        eval_steps: 1,
        load_best_model_at_end: true,
        early_stopping_patience: 3,
        ..config()
    };
    let (dir, log) = (temporary(), Lines::default());
    let best = run(dir.path(), &config, 8, &log).unwrap().values();
    let evaluations: Vec<f64> = log
        .borrow()
        .iter()
        .filter_map(|(_, line)| (line[0].0 == "eval/loss").then_some(line[0].1))
        .collect();
    let lowest = evaluations.iter().copied().fold(f64::INFINITY, f64::min);
    let at = evaluations.iter().position(|loss| *loss == lowest).unwrap();
    assert_eq!(evaluations.len(), at + 1 + 3);
    assert_eq!(
        best,
        Line::load(&dir.path().join("checkpoint-best"))
            .unwrap()
            .values()
    );
}

#[test]
fn a_loss_that_is_not_a_number_is_an_error_with_its_step() {
    let mut data = data();
    data.0[3].1 = f32::NAN;
    let dir = temporary();
    let error = run_on(&data, dir.path(), &config(), 8, &Lines::default()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NonFinite {
                what: "loss",
                step: 1 | 2
            }
        ),
        "{error}"
    );
}

#[test]
fn a_broken_checkpoint_is_named() {
    let dir = temporary();
    std::fs::create_dir(dir.path().join("checkpoint-4")).unwrap();
    let error = run(dir.path(), &config(), 8, &Lines::default()).unwrap_err();
    assert!(error.to_string().contains("checkpoint-4"), "{error}");
}

#[test]
fn the_moving_average_follows_the_weights_also_after_a_kill() {
    let config = TrainConfig {
        learning_rate: 0.1,
        num_train_epochs: 4,
        save_steps: 2,
        ..config()
    };
    let data = data();
    let seen: RefCell<Vec<(f32, f32)>> = RefCell::default();
    // Eight steps, the last of which is the outcome.
    let shares: Vec<f64> = (1..8).map(|step| f64::from(step) / 8.0).collect();
    let run = |dir: &Path, kill_at: u64| {
        let hooks = Hooks {
            dir,
            save: &|model: &Line, dir: &Path| model.save(dir),
            load: &|dir: &Path| Line::load(dir),
            log: &|step, _: &[(&str, f64)]| match step == kill_at {
                true => Err("killed".into()),
                false => Ok(()),
            },
            resumed: &|_| Ok(()),
            progress: &|_, _, _, _| {},
            snapshots: Snapshots {
                shares: &shares,
                write: &|model, _| {
                    seen.borrow_mut().push(model.values());
                    Ok(())
                },
                moving_average: Some(0.75),
            },
        };
        train(Line::new(0.3, -0.2), &data, &plan(4), None, &config, &hooks)
    };
    let dir = temporary();
    let outcome = run(dir.path(), 0).unwrap();
    let mut steps = seen.borrow().clone();
    steps.push(outcome.model.values());
    assert_eq!(steps.len(), 8);
    let expected = steps.iter().fold((0.3, -0.2), |average, now| {
        let towards = |average: f32, now: f32| 0.75 * average + 0.25 * now;
        (towards(average.0, now.0), towards(average.1, now.1))
    });
    let found = outcome.moving_average.unwrap().values();
    let close = |a: (f32, f32), b: (f32, f32)| (a.0 - b.0).abs() + (a.1 - b.1).abs() < 1e-5;
    assert!(close(found, expected), "{found:?} for {expected:?}");
    assert!(!close(found, outcome.model.values()));

    let dir = temporary();
    assert!(run(dir.path(), 5).is_err());
    let resumed = run(dir.path(), 0).unwrap().moving_average.unwrap();
    assert!(close(resumed.values(), found), "{resumed:?}");
}
