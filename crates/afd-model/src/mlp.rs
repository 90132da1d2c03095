//! A small network on vectors: a reward model over embeddings or features, which trains in seconds.

use std::{collections::HashMap, path::Path};

use afd_backend::{Placement, host::Threads};
use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{FloatDType, TensorData, activation::relu},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    Error,
    hidden::to_host,
    layers::Linear,
    lora::AdapterUse,
    weights::{Init, draw, param_id},
};

/// The network's file in its directory.
pub(crate) const MLP: &str = "mlp.safetensors";

/// Vectors in, one logit each: linear layers with ReLU between them, on standardised inputs. Without
/// hidden layers it is a linear model.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    /// What is taken off each input …
    #[module(skip)]
    mean: Vec<f32>,
    /// … before it is divided by this; 0 for an input that is constant, which counts for nothing.
    #[module(skip)]
    std: Vec<f32>,
}

impl Mlp {
    /// A network with fresh weights, drawn from `seed`, and hidden layers of these sizes, for
    /// vectors distributed as `rows` are.
    ///
    /// # Panics
    /// When the rows are not all of one length, or there are none.
    pub fn init(rows: &[&[f32]], hidden_sizes: &[usize], seed: u64, placement: &Placement) -> Self {
        let (mean, std) = moments(rows);
        let widths: Vec<usize> = [mean.len()]
            .into_iter()
            .chain(hidden_sizes.iter().copied())
            .collect();
        let outputs = hidden_sizes.iter().copied().chain([1]);
        let layers = widths.iter().zip(outputs).enumerate();
        let layers = layers.map(|(index, (&width, output))| {
            // He's for what goes through a ReLU, as in a score head for what comes out.
            let std = match index == hidden_sizes.len() {
                true => 1.0 / ((width + 1) as f64).sqrt(),
                false => (2.0 / width as f64).sqrt(),
            };
            let weight = draw(
                Threads::of(&placement.device),
                seed,
                &name(index, "weight"),
                width * output,
                Init::Normal(std),
            );
            layer(index, [width, output], weight, vec![0.0; output], placement)
        });
        Self {
            layers: layers.collect(),
            mean,
            std,
        }
    }

    /// Numbers in a vector.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// One logit per vector, `[B]`.
    ///
    /// # Panics
    /// When a vector has another length than [`Self::width`], or there are none.
    pub fn scores(&self, rows: &[&[f32]]) -> Tensor<1> {
        let (batch, width) = (rows.len(), self.width());
        let mut values = Vec::with_capacity(batch * width);
        for row in rows {
            assert_eq!(row.len(), width, "numbers in a vector");
            let moments = self.mean.iter().zip(&self.std);
            values.extend(row.iter().zip(moments).map(|(x, (mean, std))| match std {
                0.0 => 0.0,
                std => (x - mean) / std,
            }));
        }
        let device = self.layers[0].weight.device().inner();
        let mut x = Tensor::<3>::from_data(TensorData::new(values, [batch, 1, width]), &device);
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if index < last {
                x = relu(x);
            }
        }
        x.reshape([batch])
    }

    /// [`Self::scores`] on the host, `batch` vectors at a time.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a logit is NaN or infinite.
    pub fn score_all(&self, rows: &[&[f32]], batch: usize) -> Result<Vec<f32>, Error> {
        let mut scores = Vec::with_capacity(rows.len());
        for rows in rows.chunks(batch.max(1)) {
            scores.extend(to_host(self.scores(rows))?);
        }
        Ok(scores)
    }

    /// The same network, whose scores are divided by `temperature`.
    ///
    /// # Panics
    /// When `temperature` is not above 0.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f64) -> Self {
        assert!(temperature > 0.0, "a temperature above 0");
        if let Some(last) = self.layers.last_mut() {
            last.weight = last.weight.clone().map(|w| w.div_scalar(temperature));
            last.bias = last
                .bias
                .take()
                .map(|b| b.map(|b| b.div_scalar(temperature)));
        }
        self
    }

    /// The weights of a linear model, one for each standardised input; none if there are hidden
    /// layers.
    pub fn linear_weights(&self) -> Option<Vec<f32>> {
        match &self.layers[..] {
            [only] => Some(host(&only.weight)),
            _ => None,
        }
    }

    /// Writes `mlp.safetensors` into `dir`, matrices as PyTorch's `Linear` has them, `[out, in]`.
    ///
    /// # Errors
    /// When it cannot be written; no half-written file is left.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        let width = self.width();
        let mut tensors = vec![
            ("mean".to_owned(), vec![width], self.mean.clone()),
            ("std".to_owned(), vec![width], self.std.clone()),
        ];
        for (index, layer) in self.layers.iter().enumerate() {
            let [input, output] = layer.weight.dims();
            let weight = layer.weight.base().inner().transpose();
            let values = weight.into_data().iter::<f32>().collect();
            tensors.push((name(index, "weight"), vec![output, input], values));
            if let Some(bias) = &layer.bias {
                tensors.push((name(index, "bias"), vec![output], host(bias)));
            }
        }
        let path = dir.join(MLP);
        let tensors: Vec<_> = tensors
            .into_iter()
            .map(|(name, shape, values)| (name, shape, bytes(&values)))
            .collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>, _>>();
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let file = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
        let file = file.map_err(|source| Error::Safetensors {
            path: path.clone(),
            source,
        })?;
        let temporary = path.with_extension("partial");
        std::fs::write(&temporary, file)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|source| Error::Write { path, source })
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When the file is missing or damaged, or its shapes do not follow on one another.
    pub fn load(dir: &Path, placement: &Placement) -> Result<Self, Error> {
        let path = dir.join(MLP);
        let file = std::fs::read(&path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let file = SafeTensors::deserialize(&file).map_err(|source| Error::Safetensors {
            path: path.clone(),
            source,
        })?;
        let read = |name: &str, shape: &[usize]| -> Result<Vec<f32>, Error> {
            let missing = |_| Error::MissingTensor {
                path: path.clone(),
                name: name.into(),
            };
            let tensor = file.tensor(name).map_err(missing)?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
                return Err(Error::Shape {
                    path: path.clone(),
                    name: name.into(),
                    expected: shape.into(),
                    found: tensor.shape().into(),
                });
            }
            let numbers = tensor.data().chunks_exact(4);
            Ok(numbers
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect())
        };
        let shape = |name: &str| file.tensor(name).ok().map(|tensor| tensor.shape().to_vec());
        let inputs = shape("mean")
            .and_then(|shape| shape.first().copied())
            .unwrap_or(0);
        let (mean, std) = (read("mean", &[inputs])?, read("std", &[inputs])?);
        let (mut layers, mut width) = (Vec::new(), inputs);
        while layers.is_empty() || shape(&name(layers.len(), "weight")).is_some() {
            let index = layers.len();
            let output = shape(&name(index, "bias")).and_then(|shape| shape.first().copied());
            let output = output.unwrap_or(0);
            let bias = read(&name(index, "bias"), &[output])?;
            let rows = read(&name(index, "weight"), &[output, width])?;
            let mut weight = vec![0.0; width * output];
            for (at, value) in rows.into_iter().enumerate() {
                weight[at % width * output + at / width] = value;
            }
            layers.push(layer(index, [width, output], weight, bias, placement));
            width = output;
        }
        Ok(Self { layers, mean, std })
    }
}

fn layer(
    index: usize,
    shape: [usize; 2],
    weight: Vec<f32>,
    bias: Vec<f32>,
    placement: &Placement,
) -> Linear {
    let weight = TensorData::new(weight, shape);
    let bias = TensorData::new(bias, [shape[1]]);
    Linear {
        weight: param(&name(index, "weight"), weight, placement),
        bias: Some(param(&name(index, "bias"), bias, placement)),
        compute: FloatDType::F32,
        packed: None,
        frozen_adapter: None,
        adapter: AdapterUse::default(),
    }
}

fn param<const R: usize>(name: &str, data: TensorData, placement: &Placement) -> Param<Tensor<R>> {
    let tensor = Tensor::<R>::from_data(data, &placement.device);
    Param::initialized(param_id(name), tensor).set_require_grad(true)
}

fn name(index: usize, what: &str) -> String {
    format!("layers.{index}.{what}")
}

fn host<const R: usize>(param: &Param<Tensor<R>>) -> Vec<f32> {
    param.base().into_data().iter::<f32>().collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Mean and standard deviation of each number over the rows.
fn moments(rows: &[&[f32]]) -> (Vec<f32>, Vec<f32>) {
    let (width, count) = (rows[0].len(), rows.len() as f64);
    let mut sums = vec![[0.0f64; 2]; width];
    for row in rows {
        assert_eq!(row.len(), width, "numbers in a vector");
        for (sum, &x) in sums.iter_mut().zip(*row) {
            sum[0] += f64::from(x);
        }
    }
    let means: Vec<f64> = sums.iter().map(|sum| sum[0] / count).collect();
    for row in rows {
        for ((sum, mean), &x) in sums.iter_mut().zip(&means).zip(*row) {
            sum[1] += (f64::from(x) - mean).powi(2);
        }
    }
    let std = sums.iter().zip(&means).map(|(sum, mean)| {
        let std = (sum[1] / count).sqrt();
        // What is left of a constant by rounding is no variation.
        if std > 1e-6 * mean.abs().max(1e-6) {
            std as f32
        } else {
            0.0
        }
    });
    let std = std.collect();
    (means.into_iter().map(|mean| mean as f32).collect(), std)
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_backend::device::test_device;

    const ROWS: [[f32; 3]; 3] = [[1.0, 10.0, 5.0], [3.0, 30.0, 5.0], [5.0, 20.0, 5.0]];

    fn rows() -> Vec<&'static [f32]> {
        ROWS.iter().map(|row| &row[..]).collect()
    }

    #[test]
    fn a_linear_model_on_paper() {
        let placement: Placement = test_device().into();
        let mut model = Mlp::init(&rows(), &[], 1, &placement);
        let weight = TensorData::new(vec![2.0f32, -1.0, 100.0], [3, 1]);
        model.layers[0].weight = param("layers.0.weight", weight, &placement);
        // Deviations of (1, 3, 5) and (10, 30, 20) are √(8/3) and √(200/3); the constant is left out.
        let (a, b) = ((8.0f32 / 3.0).sqrt(), (200.0f32 / 3.0).sqrt());
        let expected = [2.0 * -2.0 / a + 10.0 / b, -10.0 / b, 2.0 * 2.0 / a];
        let found = model.score_all(&rows(), 2).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
        let halved = model.with_temperature(2.0).score_all(&rows(), 8).unwrap();
        for (halved, expected) in halved.iter().zip(expected) {
            assert!((halved - expected / 2.0).abs() < 1e-5, "{halved}");
        }
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let placement: Placement = test_device().into();
        let dir = tempfile::tempdir().unwrap();
        let model = Mlp::init(&rows(), &[4, 2], 7, &placement);
        model.save(dir.path()).unwrap();
        let loaded = Mlp::load(dir.path(), &placement).unwrap();
        let scores = model.score_all(&rows(), 8).unwrap();
        assert_eq!(scores, loaded.score_all(&rows(), 8).unwrap());
        assert!(
            scores.windows(2).any(|pair| pair[0] != pair[1]),
            "{scores:?}"
        );

        std::fs::write(dir.path().join(MLP), b"no safetensors").unwrap();
        let error = Mlp::load(dir.path(), &placement).unwrap_err();
        assert!(error.to_string().contains(MLP), "{error}");
    }
}
