//! `cargo xtask assets`: the shipped base checkpoint, and the table that vouches for every asset.

use std::fs;
use std::path::{Path, PathBuf};

use crate::device::DeviceArgs;
use crate::error::Error;
use crate::{product, shell};

/// Everything in `assets/` together: a clone has to stay quick.
const LIMIT_BYTES: u64 = 8_000_000;

const BEGIN: &str = "<!-- hashes: written by `cargo xtask assets` -->";
const END: &str = "<!-- end of hashes -->";

const NEW_README: &str = "\
# Assets

| folder | what it is | made by | licence |
| --- | --- | --- | --- |
| `assets/base` | the quickstart's base checkpoint and tokenizer, in Hugging Face format | \
`cargo xtask assets`, from the synthetic world alone | MIT OR Apache-2.0, as the code |

";

const EXAMPLES: &str = "\
Examples:
  cargo xtask assets                         train assets/base again, then refresh the table
  cargo xtask assets --table-only            only refresh the table, after adding an asset";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Configuration of the base model [default: configs/base-model.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keep the files as they are; refresh the table of hashes in assets/README.md
    #[arg(long)]
    table_only: bool,
}

/// One committed file.
struct Asset {
    /// From the root of the repository, with `/`.
    path: String,
    bytes: u64,
    blake3: String,
}

/// Trains the base checkpoint unless told otherwise, checks the size and rewrites the table.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    if !args.table_only {
        let root = shell::root();
        let default = || root.join("configs/base-model.toml");
        let config = args.config.clone().unwrap_or_else(default);
        let backends = DeviceArgs::default().backends_for(Some(&config))?;
        let mut command = product::build(&backends)?.command()?;
        command
            .arg("base-model")
            .arg("--config")
            .arg(config)
            .arg("--output")
            .arg(root.join("assets/base"));
        shell::run(&mut command)?;
    }
    let total = refresh_table(&shell::root())?;
    println!("assets/README.md is up to date; {total} of {LIMIT_BYTES} bytes are used");
    Ok(())
}

/// Rewrites the table in `assets/README.md` and returns the size of all assets in bytes.
fn refresh_table(root: &Path) -> Result<u64, Error> {
    let folder = root.join("assets");
    let mut assets = Vec::new();
    collect(&folder, "assets", &mut assets)?;
    assets.sort_by(|a, b| a.path.cmp(&b.path));
    let total = assets.iter().map(|asset| asset.bytes).sum();
    if total > LIMIT_BYTES {
        return Err(Error::AssetsTooBig {
            bytes: total,
            limit: LIMIT_BYTES,
        });
    }
    let readme = folder.join("README.md");
    let text = if readme.exists() {
        fs::read_to_string(&readme).map_err(Error::io(&readme))?
    } else {
        format!("{NEW_README}{BEGIN}\n{END}\n")
    };
    let text = replace_table(&text, &table(&assets)).map_err(|marker| Error::NoMarker {
        path: readme.clone(),
        marker,
    })?;
    fs::write(&readme, text).map_err(Error::io(&readme))?;
    Ok(total)
}

/// Adds every file below `folder`, whose path from the root is `path`, but the README.
fn collect(folder: &Path, path: &str, assets: &mut Vec<Asset>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let file = entry.path();
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if file.is_dir() {
            collect(&file, &path, assets)?;
        } else if path != "assets/README.md" {
            let content = fs::read(&file).map_err(Error::io(&file))?;
            assets.push(Asset {
                path,
                bytes: content.len() as u64,
                blake3: blake3::hash(&content).to_hex().to_string(),
            });
        }
    }
    Ok(())
}

fn table(assets: &[Asset]) -> String {
    let mut table = String::from("| file | bytes | BLAKE3 |\n| --- | ---: | --- |\n");
    for asset in assets {
        table.push_str(&format!(
            "| `{}` | {} | `{}` |\n",
            asset.path, asset.bytes, asset.blake3
        ));
    }
    table
}

/// Puts the table between its markers, or names the marker that is missing.
fn replace_table(text: &str, table: &str) -> Result<String, &'static str> {
    let (before, rest) = text.split_once(BEGIN).ok_or(BEGIN)?;
    let (_, after) = rest.split_once(END).ok_or(END)?;
    Ok(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_per_file_and_the_text_around_it_stays() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("assets/base");
        fs::create_dir_all(&base).unwrap();
        fs::write(base.join("config.json"), "{}").unwrap();
        assert_eq!(refresh_table(root.path()).unwrap(), 2);

        let readme = root.path().join("assets/README.md");
        let first = fs::read_to_string(&readme).unwrap();
        let hash = blake3::hash(b"{}").to_hex();
        assert!(first.contains(&format!("| `assets/base/config.json` | 2 | `{hash}` |\n")));

        fs::write(
            &readme,
            first.replace("# Assets", "# Our assets") + "More.\n",
        )
        .unwrap();
        fs::write(base.join("vocab.txt"), "abc").unwrap();
        assert_eq!(refresh_table(root.path()).unwrap(), 5);
        let second = fs::read_to_string(&readme).unwrap();
        assert!(second.starts_with("# Our assets"));
        assert!(second.ends_with("More.\n"));
        assert_eq!(second.matches("config.json").count(), 1);
        assert!(second.contains("| `assets/base/vocab.txt` | 3 |"));

        refresh_table(root.path()).unwrap();
        assert_eq!(fs::read_to_string(&readme).unwrap(), second);
    }

    #[test]
    fn assets_above_the_limit_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("assets");
        fs::create_dir_all(&folder).unwrap();
        let content = vec![0; usize::try_from(LIMIT_BYTES).unwrap() + 1];
        fs::write(folder.join("big.bin"), content).unwrap();
        let error = refresh_table(root.path()).unwrap_err();
        assert!(matches!(error, Error::AssetsTooBig { bytes, .. } if bytes == LIMIT_BYTES + 1));
    }

    #[test]
    fn a_readme_without_markers_is_left_alone() {
        assert_eq!(replace_table("# Assets\n", ""), Err(BEGIN));
        assert_eq!(replace_table(BEGIN, ""), Err(END));
    }
}
