//! `afd export`: a model as transformers, vLLM or PEFT load it, with its card.

use std::{
    fs,
    path::{Path, PathBuf},
};

use afd_backend::Placement;
use afd_data::Tokenizer;
use afd_model::{
    CausalLm, DecoderConfig, Head, Pretrained, SaveOptions, SequenceClassifier, adapter_base,
    is_adapter,
};

use super::print;
use crate::{
    args::{ExportArgs, ExportFormat},
    card::Card,
    error::Error,
    models,
};

/// The adapter of a finished stage, within its directory.
const ADAPTER: &str = "adapter";

pub(crate) fn run(args: &ExportArgs) -> Result<(), Error> {
    refuse_unused(args)?;
    let output = Output::begin(&args.output)?;
    let adapter = adapter_dir(&args.from);
    let base = match (&args.base, &adapter) {
        (Some(base), _) => Some(base.clone()),
        (None, Some(adapter)) => adapter_base(adapter)?.map(PathBuf::from),
        (None, None) => None,
    };
    let here = match base.as_deref().map(models::given) {
        Some(None) if args.to == ExportFormat::Hf => {
            return Err(Error::Usage(format!(
                "{} is neither a directory nor a model that the cache has; give the adapter's \
                 model by --base",
                base.unwrap_or_default().display()
            )));
        }
        found => found.flatten(),
    };
    let head =
        match args.to {
            ExportFormat::Hf => write_model(args, here.as_deref(), &output.partial)?,
            ExportFormat::Peft => {
                let adapter = adapter.ok_or_else(|| Error::Usage(format!(
                "{} holds no adapter; `--to hf` exports whole models, and a stage with a table \
                 such as [sft.lora] makes adapters",
                args.from.display()
            )))?;
                write_adapter(&adapter, args.base.as_deref(), &output.partial)?
            }
        };
    // An adapter alone has no tokenizer: it is that of its model.
    let tokenizer = [Some(args.from.as_path()), here.as_deref()];
    let with = tokenizer.into_iter().flatten();
    let mut with = with.filter(|dir| dir.join("tokenizer.json").exists());
    match with.next() {
        Some(dir) => Tokenizer::load(dir)?.save(&output.partial)?,
        None => {
            return Err(Error::Usage(format!(
                "neither {} nor its base holds a tokenizer.json; give the model by --base DIRECTORY",
                args.from.display()
            )));
        }
    }
    let card = Card::read(&args.from, args.to, head, base.as_deref())?;
    card.write(&output.partial, &args.output)?;
    output.publish()?;
    print(&format!(
        "{}\nREADME.md there is its card: who made it, from what, how; read it before you share it\n",
        args.output.display()
    ))
}

/// Refuses flags that would change nothing.
fn refuse_unused(args: &ExportArgs) -> Result<(), Error> {
    let weights = args.save_dtype.is_some() || args.max_shard_size.is_some();
    if args.to == ExportFormat::Peft && weights {
        return Err(Error::Usage(
            "--save-dtype and --max-shard-size are for --to hf; adapters go out as they are".into(),
        ));
    }
    if args.to == ExportFormat::Hf && args.base.is_some() && !is_adapter(&args.from) {
        return Err(Error::Usage(format!(
            "{} is a whole model, or holds one; --base is for an adapter alone",
            args.from.display()
        )));
    }
    Ok(())
}

/// Where the adapter in `from` is, if there is one.
fn adapter_dir(from: &Path) -> Option<PathBuf> {
    let below = from.join(ADAPTER);
    match (is_adapter(from), is_adapter(&below)) {
        (true, _) => Some(from.to_owned()),
        (false, true) => Some(below),
        (false, false) => None,
    }
}

/// Writes the whole model, an adapter merged into its base.
fn write_model(args: &ExportArgs, base: Option<&Path>, output: &Path) -> Result<Head, Error> {
    let placement = Placement::from(afd_backend::device::open("flex")?);
    let options = SaveOptions {
        dtype: args.save_dtype.unwrap_or_default(),
        max_shard_size: match &args.max_shard_size {
            Some(size) => size.bytes(),
            None => SaveOptions::default().max_shard_size,
        },
    };
    let (model, adapter) = match (is_adapter(&args.from), base) {
        (false, _) => (args.from.as_path(), None),
        (true, Some(base)) => (base, Some(args.from.as_path())),
        (true, None) => {
            return Err(Error::Usage(format!(
                "{} does not say which model it is on; give it by --base DIRECTORY",
                args.from.display()
            )));
        }
    };
    let (_, mut head) = DecoderConfig::load(model)?;
    if let Some(adapter) = adapter {
        head = adapter_head(adapter)?;
    }
    match head {
        Head::LanguageModel => write(CausalLm::load(model, &placement)?, adapter, output, options)?,
        Head::Score => {
            let model = SequenceClassifier::load(model, 0, &placement)?;
            write(model, adapter, output, options)?;
        }
    }
    Ok(head)
}

fn write<M: Pretrained>(
    model: M,
    adapter: Option<&Path>,
    output: &Path,
    options: SaveOptions,
) -> Result<(), Error> {
    let model = match adapter {
        Some(adapter) => model.with_adapter(adapter)?,
        None => model,
    };
    Ok(model.save(output, options)?)
}

const CONFIG: &str = "adapter_config.json";

/// Copies an adapter, which then names `base`, if that is given.
fn write_adapter(adapter: &Path, base: Option<&Path>, output: &Path) -> Result<Head, Error> {
    let weights = "adapter_model.safetensors";
    fs::copy(adapter.join(weights), output.join(weights))
        .map_err(io("copy", &adapter.join(weights)))?;
    let tokens = "generation_config.json";
    if adapter.join(tokens).exists() {
        fs::copy(adapter.join(tokens), output.join(tokens))
            .map_err(io("copy", &adapter.join(tokens)))?;
    }
    let mut json = adapter_json(adapter)?;
    if let Some(base) = base {
        json["base_model_name_or_path"] = base.to_string_lossy().into();
        json["revision"] = serde_json::Value::Null;
    }
    let path = output.join(CONFIG);
    fs::write(&path, format!("{json:#}\n")).map_err(io("write", &path))?;
    adapter_head(adapter)
}

fn adapter_json(dir: &Path) -> Result<serde_json::Value, Error> {
    let path = dir.join(CONFIG);
    let text = fs::read_to_string(&path).map_err(io("read", &path))?;
    serde_json::from_str(&text)
        .map_err(|source| Error::Model(afd_model::Error::Json { path, source }))
}

fn adapter_head(dir: &Path) -> Result<Head, Error> {
    Ok(match adapter_json(dir)?["task_type"].as_str() {
        Some("SEQ_CLS") => Head::Score,
        _ => Head::LanguageModel,
    })
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

/// A directory that appears whole or not at all.
struct Output {
    partial: PathBuf,
    path: PathBuf,
}

impl Output {
    /// # Errors
    /// When there is something at `path` already, or it cannot be written.
    fn begin(path: &Path) -> Result<Self, Error> {
        let empty = |path: &Path| fs::read_dir(path).is_ok_and(|mut dir| dir.next().is_none());
        if path.exists() && !empty(path) {
            return Err(Error::Usage(format!(
                "{} exists; give a new directory",
                path.display()
            )));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let partial = path.with_file_name(name);
        fs::create_dir_all(&partial).map_err(io("create", &partial))?;
        Ok(Self {
            partial,
            path: path.to_owned(),
        })
    }

    fn publish(self) -> Result<(), Error> {
        if self.path.exists() {
            fs::remove_dir(&self.path).map_err(io("replace", &self.path))?;
        }
        fs::rename(&self.partial, &self.path).map_err(io("write", &self.path))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Gone when it was published; otherwise the export failed, and half of it helps nobody.
        let _ = fs::remove_dir_all(&self.partial);
    }
}
