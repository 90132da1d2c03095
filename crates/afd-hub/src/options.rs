//! Where the Hub and its cache are, who asks, and whether to ask at all.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::{Error, Token, http};

/// The Hub itself.
const ENDPOINT: &str = "https://huggingface.co";

/// What the environment says about the Hub. The variables are those of Python's `huggingface_hub`.
#[derive(Clone)]
pub struct Options {
    /// The cache, which holds one directory `models--org--name` per repository.
    pub cache: PathBuf,
    /// The Hub's address: `http` or `https`, a host, and perhaps a path.
    pub endpoint: String,
    /// Sent to `endpoint` and to no other host.
    pub token: Option<Token>,
    /// Take what the cache holds and open no connection.
    pub offline: bool,
    /// The proxy that connections go through, as in `http://host:port`.
    pub proxy: Option<String>,
    /// Hosts that are reached without `proxy`, separated by commas.
    pub no_proxy: String,
}

impl Options {
    /// Reads the variables that `get` looks up; one that is empty counts as not set.
    ///
    /// | value | variables, the first that is set |
    /// | --- | --- |
    /// | `cache` | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME` + `/hub`, `XDG_CACHE_HOME` + `/huggingface/hub`, `HOME` + `/.cache/huggingface/hub` |
    /// | `endpoint` | `HF_ENDPOINT`, else `https://huggingface.co` |
    /// | `token` | none if `HF_HUB_DISABLE_IMPLICIT_TOKEN` is on; `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, the file `HF_TOKEN_PATH`, the file `token` beside the cache's default place |
    /// | `offline` | `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` is on: `1`, `on`, `yes`, `true` |
    /// | `proxy`, `no_proxy` | `HTTPS_PROXY` (`HTTP_PROXY` for an `http` endpoint), `ALL_PROXY`; `NO_PROXY`; in small letters too |
    ///
    /// # Errors
    /// [`Error::NoCache`] when no variable says where the cache is, [`Error::Io`] when there is a
    /// file for the token that cannot be read, [`Error::Setting`] on an endpoint that is no address
    /// or holds a password.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let either = |name: &str| get(name).or_else(|| get(&name.to_lowercase()));
        let user = get("HOME").or_else(|| get("USERPROFILE"));
        let path = |value: String| expand(&value, user.as_deref());
        let home = get("HF_HOME").map(path).or_else(|| {
            let cache = get("XDG_CACHE_HOME").map(path);
            let cache = cache.or_else(|| Some(Path::new(user.as_ref()?).join(".cache")));
            Some(cache?.join("huggingface"))
        });
        let cache = get("HF_HUB_CACHE")
            .or_else(|| get("HUGGINGFACE_HUB_CACHE"))
            .map(path)
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or(Error::NoCache)?;

        let on = |name: &str| get(name).is_some_and(|value| is_on(&value));
        let token_path = get("HF_TOKEN_PATH").map(path);
        let token_path = token_path.or_else(|| Some(home?.join("token")));
        let token = match get("HF_TOKEN").or_else(|| get("HUGGING_FACE_HUB_TOKEN")) {
            _ if on("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            Some(text) => Token::new(&text),
            None => token_path.map_or(Ok(None), |path| token_in(&path))?,
        };

        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        let proxy = match endpoint.starts_with("http://") {
            true => either("HTTP_PROXY"),
            false => either("HTTPS_PROXY"),
        };
        let options = Self {
            cache,
            endpoint,
            token,
            offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
            proxy: proxy.or_else(|| either("ALL_PROXY")),
            no_proxy: either("NO_PROXY").unwrap_or_default(),
        };
        http::endpoint(&options)?;
        Ok(options)
    }
}

/// Without the proxy, whose address may hold a password.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

fn is_on(value: &str) -> bool {
    let value = value.trim().to_lowercase();
    matches!(value.as_str(), "1" | "on" | "yes" | "true")
}

/// `~/x` begins at the user's directory, as in Python.
fn expand(path: &str, user: Option<&str>) -> PathBuf {
    match (path.strip_prefix("~/"), user) {
        (Some(rest), Some(user)) => Path::new(user).join(rest),
        _ => PathBuf::from(path),
    }
}

fn token_in(path: &Path) -> Result<Option<Token>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Token::new(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read the token in", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> Result<Options, Error> {
        Options::from_env(|name| {
            let mut found = variables.iter().filter(|(known, _)| *known == name);
            found.next().map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_stands_where_python_has_it() {
        let cache = |variables: &[(&str, &str)]| options(variables).unwrap().cache;
        let home = ("HOME", "/u");
        assert_eq!(cache(&[home]), Path::new("/u/.cache/huggingface/hub"));
        let xdg = ("XDG_CACHE_HOME", "/x");
        assert_eq!(cache(&[home, xdg]), Path::new("/x/huggingface/hub"));
        let hf_home = ("HF_HOME", "~/hf");
        assert_eq!(cache(&[home, xdg, hf_home]), Path::new("/u/hf/hub"));
        let old = ("HUGGINGFACE_HUB_CACHE", "/old");
        assert_eq!(cache(&[home, hf_home, old]), Path::new("/old"));
        let new = ("HF_HUB_CACHE", "/new");
        assert_eq!(cache(&[home, hf_home, old, new]), Path::new("/new"));
        assert_eq!(cache(&[home, ("HF_HOME", "")]), cache(&[home]));
        let error = options(&[]).unwrap_err().to_string();
        assert!(error.contains("HF_HOME"), "{error}");
    }

    #[test]
    fn tokens_come_from_variables_then_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let token = |more: &[(&str, &str)]| {
            let all = [&[("HF_HOME", home)], more].concat();
            let token = options(&all).unwrap().token;
            token.map(|token| token.secret().to_owned())
        };
        assert_eq!(token(&[]), None);
        std::fs::write(dir.path().join("token"), "in-the-file\n").unwrap();
        assert_eq!(token(&[]).unwrap(), "in-the-file");
        let other = dir.path().join("other");
        std::fs::write(&other, "in-another").unwrap();
        let path = ("HF_TOKEN_PATH", other.to_str().unwrap());
        assert_eq!(token(&[path]).unwrap(), "in-another");
        let old = ("HUGGING_FACE_HUB_TOKEN", "old");
        assert_eq!(token(&[path, old]).unwrap(), "old");
        let new = ("HF_TOKEN", " new ");
        assert_eq!(token(&[path, old, new]).unwrap(), "new");
        let never = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        assert_eq!(token(&[path, old, new, never]), None);
        // A directory is no file.
        let error = options(&[("HF_HOME", home), ("HF_TOKEN_PATH", home)]).unwrap_err();
        assert!(error.to_string().contains("read the token"), "{error}");
    }

    #[test]
    fn offline_is_a_switch_with_two_names() {
        let offline = |name, value| options(&[("HOME", "/u"), (name, value)]).unwrap().offline;
        for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
            assert!(offline(name, "1"));
            assert!(offline(name, "True"));
            assert!(!offline(name, "0"));
            assert!(!offline(name, ""));
        }
    }

    #[test]
    fn the_endpoint_and_the_way_there() {
        let home = ("HOME", "/u");
        let plain = options(&[home]).unwrap();
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(plain.proxy, None);
        let proxies = [
            home,
            ("http_proxy", "http://plain"),
            ("HTTPS_PROXY", "http://secure"),
            ("NO_PROXY", "localhost,.corp"),
        ];
        let secure = options(&proxies).unwrap();
        assert_eq!(secure.proxy.as_deref(), Some("http://secure"));
        assert_eq!(secure.no_proxy, "localhost,.corp");
        let mirror = ("HF_ENDPOINT", "http://mirror:8080/hf/");
        let plain = options(&[&proxies[..], &[mirror]].concat()).unwrap();
        assert_eq!(plain.endpoint, "http://mirror:8080/hf");
        assert_eq!(plain.proxy.as_deref(), Some("http://plain"));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let variables = [
            ("HOME", "/u"),
            ("HF_TOKEN", "hf_secret"),
            ("HTTPS_PROXY", "http://me:secret@proxy"),
        ];
        let mirror = ("HF_ENDPOINT", "https://me:secret@mirror");
        let refused = options(&[variables[0], mirror]).unwrap_err().to_string();
        assert!(!refused.contains("secret"), "{refused}");
        let shown = format!("{:?}", options(&variables).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("Token(hidden)"), "{shown}");
    }
}
