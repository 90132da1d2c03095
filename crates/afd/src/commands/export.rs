//! `afd export`: a model as transformers, vLLM or PEFT load it, with its card.

use std::{
    fs,
    path::{Path, PathBuf},
};

use afd_backend::Placement;
use afd_data::Tokenizer;
use afd_model::{
    AdapterInfo, CausalLm, DecoderConfig, Head, Pretrained, SaveOptions, SequenceClassifier,
    copy_adapter, find_adapter, is_adapter,
};

use super::print;
use crate::{
    args::{ExportArgs, ExportFormat},
    card::Card,
    error::Error,
    models,
};

pub(crate) fn run(args: &ExportArgs) -> Result<(), Error> {
    refuse_unused(args)?;
    let output = Output::begin(&args.output)?;
    let adapter = find_adapter(&args.from);
    let info = adapter.as_deref().map(AdapterInfo::read).transpose()?;
    let named = info.as_ref().and_then(|info| info.base.as_deref());
    let base = args.base.clone().or(named.map(PathBuf::from));
    let here = base.as_deref().and_then(models::given);
    let head = match (args.to, &adapter, &info) {
        (ExportFormat::Hf, ..) => write_model(args, base.as_deref(), &output.partial)?,
        (ExportFormat::Peft, Some(adapter), Some(info)) => {
            let base = args.base.as_ref().map(|base| base.to_string_lossy());
            copy_adapter(adapter, &output.partial, base.as_deref())?;
            info.head
        }
        (ExportFormat::Peft, ..) => {
            return Err(Error::Usage(format!(
                "{} holds no adapter; `--to hf` exports whole models, and a stage with a table \
                 such as [sft.lora] makes adapters",
                args.from.display()
            )));
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
    if !is_adapter(&args.from) {
        let (_, head) = DecoderConfig::load(&args.from)?;
        return write(head, &args.from, None, &placement, output, options);
    }
    let Some(base) = base else {
        return Err(Error::Usage(format!(
            "{} does not say which model it is on; give it by --base DIRECTORY",
            args.from.display()
        )));
    };
    let Some(base) = models::given(base) else {
        return Err(Error::Usage(format!(
            "{} is neither a directory nor a model that the cache has; give the adapter's model by \
             --base",
            base.display()
        )));
    };
    let head = AdapterInfo::read(&args.from)?.head;
    write(head, &base, Some(&args.from), &placement, output, options)
}

/// Writes the model in `from`, with `adapter` merged.
fn write(
    head: Head,
    from: &Path,
    adapter: Option<&Path>,
    placement: &Placement,
    output: &Path,
    options: SaveOptions,
) -> Result<Head, Error> {
    match head {
        Head::LanguageModel => {
            merge(CausalLm::load(from, placement)?, adapter)?.save(output, options)?
        }
        Head::Score => {
            let model = SequenceClassifier::load(from, 0, placement)?;
            merge(model, adapter)?.save(output, options)?;
        }
    }
    Ok(head)
}

fn merge<M: Pretrained>(model: M, adapter: Option<&Path>) -> Result<M, Error> {
    Ok(match adapter {
        Some(adapter) => model.with_adapter(adapter)?,
        None => model,
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
