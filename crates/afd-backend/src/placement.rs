//! Where a model computes, and in which number types.

use burn::tensor::{Device, FloatDType};
use serde::{Deserialize, Serialize};

use crate::{DeviceError, device, ops};

/// A type of floating-point number a model can hold or compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32 bits: 8 of exponent, 23 of fraction.
    #[default]
    F32,
    /// 16 bits: the exponent of f32, 7 of fraction.
    Bf16,
    /// 16 bits: 5 of exponent, 10 of fraction; largest number 65504.
    F16,
}

impl Dtype {
    /// Its name in configurations, reports and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

impl From<Dtype> for FloatDType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::BF16,
            Dtype::F16 => Self::F16,
        }
    }
}

/// The `[precision]` table: number types of weights and of arithmetic.
///
/// Linear layers and what lies between them (rotary positions, the feed-forward gate), the output
/// head and attention's products compute in `compute`; norms, softmax, the residual stream, the
/// score of a reward model, losses, log-probabilities and the optimiser's state are f32 whatever
/// stands here. On `flex` bf16 is for products alone: the factors of linear layers and of the head are
/// rounded to it, everything between them is f32. What checkpoints are stored in is another matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Precision {
    /// What embeddings and norms are held in where a model is only read (samples, scores); the
    /// matrices of linear layers are held in `compute` there. Training holds f32 master weights
    /// and casts them.
    pub params: Dtype,
    /// What linear layers and attention compute in.
    pub compute: Dtype,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (params, compute) = (self.params.name(), self.compute.name());
        write!(f, "params {params}, compute {compute}")
    }
}

/// A device, and the number types models use on it.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Where tensors live.
    pub device: Device,
    precision: Precision,
    /// Whether weights are f32 master copies, which training updates.
    master_weights: bool,
}

impl Placement {
    /// Opens the device called `name` and tries whether it computes in the types of `precision`.
    ///
    /// # Errors
    /// [`DeviceError`] when the device cannot be opened, or does not compute in a type.
    pub fn open(name: &str, precision: Precision) -> Result<Self, DeviceError> {
        let device = device::open(name)?;
        // f32 too: better no result than that of a driver which multiplies wrongly.
        let mut dtypes = vec![Dtype::F32, precision.params, precision.compute];
        dtypes.dedup();
        for dtype in dtypes {
            device::supports(&device, dtype.into()).map_err(|reason| DeviceError::Dtype {
                device: name.into(),
                dtype: dtype.name(),
                reason,
            })?;
        }
        Ok(Self {
            device,
            precision,
            master_weights: false,
        })
    }

    /// The same device for a model that is going to be trained: its weights are held in f32.
    #[must_use]
    pub fn for_training(&self) -> Self {
        Self {
            master_weights: true,
            ..self.clone()
        }
    }

    /// The number types asked for.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What linear layers and attention compute in.
    pub fn compute(&self) -> FloatDType {
        self.precision.compute.into()
    }

    /// What lies between linear layers.
    pub fn activations(&self) -> FloatDType {
        ops::activation_dtype(&self.device, self.compute())
    }

    /// What a linear layer's matrix is held in: where nobody trains it, as it is used, so that
    /// it is not cast at every call.
    pub fn linear_weights(&self) -> FloatDType {
        match self.master_weights {
            true => FloatDType::F32,
            false => self.precision.compute.into(),
        }
    }

    /// What all other weights are held in.
    pub fn weights(&self) -> FloatDType {
        match self.master_weights {
            true => FloatDType::F32,
            false => self.precision.params.into(),
        }
    }
}

/// All in f32.
impl From<Device> for Placement {
    fn from(device: Device) -> Self {
        Self {
            device,
            precision: Precision::default(),
            master_weights: false,
        }
    }
}
