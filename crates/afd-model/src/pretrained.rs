//! What language models and reward models have in common: files, and adapters.

use std::path::Path;

use afd_backend::Placement;
use burn::module::Module;
use serde_json::Value;

use crate::{
    Decoder, DecoderConfig, Error, Head, LoraConfig, SaveOptions,
    lora::{self, AdaptersOn},
    peft,
    save::save,
};

/// A decoder with a head, which comes from a Hugging Face directory and goes to one.
pub trait Pretrained: Module {
    /// What stands on the decoder.
    const HEAD: Head;

    /// Reads a directory that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When a file is missing or damaged, or a tensor does not have the shape
    /// `config.json` asks for.
    fn read(dir: &Path, placement: &Placement) -> Result<Self, Error>;

    /// The decoder.
    fn decoder(&self) -> &Decoder;

    /// The decoder.
    fn decoder_mut(&mut self) -> &mut Decoder;

    /// The shape of the decoder.
    fn config(&self) -> &DecoderConfig {
        self.decoder().config()
    }

    /// Writes `config.json` and the weights into `dir`, in one file or in several with an index,
    /// and for a language model `generation_config.json`. Adapters are merged, also those that are left out
    /// by [`without_adapters`](Self::without_adapters) or [`bare`](Self::bare).
    ///
    /// # Errors
    /// When `dir` cannot be written; no half-written file is left.
    fn save(&self, dir: &Path, options: SaveOptions) -> Result<(), Error> {
        let config = self.config();
        let json = config.to_json(Self::HEAD, options.dtype);
        crate::write_json(&dir.join("config.json"), &json)?;
        if Self::HEAD == Head::LanguageModel {
            let json = config.generation_json();
            crate::write_json(&dir.join(GENERATION), &json)?;
        }
        save(self, self.decoder(), dir, options)
    }

    /// The same model, whose answers end at these tokens.
    #[must_use]
    fn with_end_tokens(mut self, ids: &[u32]) -> Self {
        self.decoder_mut().set_end_tokens(ids);
        self
    }

    /// The same model, frozen, with fresh adapters that change nothing yet. Each depends on `seed`
    /// and the name of its layer alone. `base` is what an adapter's files call the model.
    ///
    /// The frozen weights are shared with every clone of the model, not copied.
    ///
    /// # Errors
    /// [`Error::Lora`] on a value out of range or a name that fits no module, or when the model has
    /// adapters already.
    fn with_lora(self, config: &LoraConfig, base: &str, seed: u64) -> Result<Self, Error> {
        without(&self)?;
        let shape = self.config().clone();
        let mut model = lora::attach(self, &shape, config, seed)?;
        model
            .decoder_mut()
            .set_adapters(Some((config.clone(), base.to_owned())));
        Ok(model)
    }

    /// The same model, frozen, with the adapters in `dir`, which PEFT or
    /// [`save_adapter`](Self::save_adapter) wrote.
    ///
    /// # Errors
    /// When a file is missing or damaged, a tensor does not fit this model, or the adapters are of
    /// a kind other than LoRA or use an option of PEFT's that changes the base.
    /// A model with adapters takes no others.
    fn with_adapter(self, dir: &Path) -> Result<Self, Error> {
        without(&self)?;
        let shape = self.config().clone();
        let (mut model, config, base) = peft::load(self, &shape, dir)?;
        let path = dir.join(GENERATION);
        if path.exists() {
            let tokens: Value = crate::read_json(&path)?;
            let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
            let end = match &tokens["eos_token_id"] {
                Value::Array(ids) => ids.iter().filter_map(id).collect(),
                one => Vec::from_iter(id(one)),
            };
            if !end.is_empty() {
                model.decoder_mut().set_end_tokens(&end);
            }
            if let Some(pad) = id(&tokens["pad_token_id"]) {
                model.decoder_mut().set_pad_token(pad);
            }
        }
        model.decoder_mut().set_adapters(Some((config, base)));
        Ok(model)
    }

    /// The same model with the adapters in `dir` as part of what is frozen. Others can be learned on
    /// top: then [`without_adapters`](Self::without_adapters) gives this model, and
    /// [`bare`](Self::bare) the one below, all three on one memory.
    ///
    /// # Errors
    /// Those of [`with_adapter`](Self::with_adapter), and adapters that come with modules trained in
    /// full, which took the place of the model's own.
    fn with_frozen_adapter(self, dir: &Path) -> Result<Self, Error> {
        let mut linears = self.decoder().linears();
        if linears.any(|(_, linear)| linear.frozen_adapter.is_some()) {
            return Err(Error::Lora {
                key: "adapters",
                problem: "are frozen already; merge them first".into(),
            });
        }
        drop(linears);
        let mut model = self.with_adapter(dir)?;
        let adapters = model.decoder().adapters();
        if adapters.is_some_and(|(lora, _)| !lora.modules_to_save.is_empty()) {
            return Err(Error::Lora {
                key: "modules_to_save",
                problem: format!("of {} leaves no model below to share", dir.display()),
            });
        }
        lora::freeze_adapters(model.decoder_mut());
        model.decoder_mut().set_adapters(None);
        Ok(model)
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors` into `dir`, in f32.
    ///
    /// # Errors
    /// When `dir` cannot be written, or the model has no adapters.
    fn save_adapter(&self, dir: &Path) -> Result<(), Error> {
        let Some((lora, base)) = self.decoder().adapters() else {
            return Err(Error::Lora {
                key: "adapters",
                problem: "are missing: the model has none to save".into(),
            });
        };
        let whom = peft::For::Peft;
        peft::save(self, self.decoder(), Self::HEAD, (lora, base), dir, whom)?;
        // Which tokens end an answer and pad a batch belongs to what was trained.
        let json = self.config().generation_json();
        crate::write_json(&dir.join(GENERATION), &json)
    }

    /// The same model without adapters, which are added to the weights, frozen ones too.
    #[must_use]
    fn merge_and_unload(mut self) -> Self {
        lora::detach(self.decoder_mut(), true);
        self.decoder_mut().set_adapters(None);
        self.unfreeze()
    }

    /// The same model without adapters, as it was before it had them, but for frozen ones and the
    /// modules that were trained in full.
    #[must_use]
    fn unload(mut self) -> Self {
        lora::detach(self.decoder_mut(), false);
        self.decoder_mut().set_adapters(None);
        self.unfreeze()
    }

    /// The same model whose adapters, if it has any, are left out, but for frozen ones: with policy
    /// and reference of one base, this is the reference, on the same memory.
    #[must_use]
    fn without_adapters(mut self) -> Self {
        self.decoder_mut().set_adapters_on(AdaptersOn::Frozen);
        self
    }

    /// The same model with all adapters left out, frozen ones too, on the same memory.
    #[must_use]
    fn bare(mut self) -> Self {
        self.decoder_mut().set_adapters_on(AdaptersOn::None);
        self
    }

    /// The same model for one training step: adapters with dropout draw from `seed`, by `None` they
    /// see everything.
    #[must_use]
    fn with_dropout(mut self, seed: Option<u64>) -> Self {
        self.decoder_mut().set_dropout(seed);
        self
    }

    /// Writes what training changes, for [`load_checkpoint`](Self::load_checkpoint): the adapters
    /// if there are any, otherwise the whole model.
    ///
    /// # Errors
    /// When `dir` cannot be written.
    fn save_checkpoint(&self, dir: &Path) -> Result<(), Error> {
        match self.decoder().adapters() {
            Some((lora, base)) => {
                let whom = peft::For::Training;
                peft::save(self, self.decoder(), Self::HEAD, (lora, base), dir, whom)
            }
            None => self.save(dir, SaveOptions::default()),
        }
    }

    /// The model that adapters are on, without them; none if there are no adapters. It shares its
    /// memory with this one.
    fn frozen(&self) -> Option<Self> {
        self.decoder().adapters()?;
        Some(self.clone().unload())
    }

    /// The model that [`save_checkpoint`](Self::save_checkpoint) wrote into `dir`; `frozen` is what
    /// its adapters are on, if it has any.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    fn load_checkpoint(
        frozen: Option<&Self>,
        dir: &Path,
        placement: &Placement,
    ) -> Result<Self, Error> {
        match frozen {
            Some(frozen) => frozen.clone().with_adapter(dir),
            None => Self::read(dir, placement),
        }
    }

    /// Writes a trained model into `dir`: the whole of it. If it has adapters, they go into
    /// `dir/adapter`, and what they make of the model in the directory `base` into `dir`: merged
    /// into the weights as they are on disk, not as the device held them in training, and in the
    /// machine's memory, which has room for f32 where a device may not.
    ///
    /// # Errors
    /// When `dir` cannot be written, or `base` not be read again.
    fn save_trained(self, base: &Path, options: SaveOptions, dir: &Path) -> Result<(), Error> {
        if self.decoder().adapters().is_none() {
            return self.save(dir, options);
        }
        let adapter = dir.join(peft::BESIDE_MODEL);
        std::fs::create_dir_all(&adapter).map_err(|source| Error::Write {
            path: adapter.clone(),
            source,
        })?;
        self.save_adapter(&adapter)?;
        drop(self);
        let host =
            afd_backend::device::open("flex").map_err(|error| Error::Host(Box::new(error)))?;
        let base = Self::read(base, &host.into())?;
        base.with_adapter(&adapter)?.save(dir, options)
    }
}

/// The tokens that end answers and pad batches, beside weights.
pub(crate) const GENERATION: &str = "generation_config.json";

/// Refuses a model that has adapters.
fn without<M: Pretrained>(model: &M) -> Result<(), Error> {
    match model.decoder().adapters() {
        None => Ok(()),
        Some(_) => Err(Error::Lora {
            key: "adapters",
            problem: "are there already; merge or unload them first".into(),
        }),
    }
}
