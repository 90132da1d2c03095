//! Requests: redirects followed by hand, so that the token goes to one host only.

use std::time::Duration;

use ureq::config::AutoHeaderValue;
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE};
use ureq::http::{HeaderValue, Method, Request, Response, Uri};
use ureq::{Agent, Body, Proxy};

use crate::{Error, Options};

/// Most redirects of one request.
const MAX_REDIRECTS: usize = 10;

/// Longest wait for a connection, and for the next bytes of an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that knows which host is the Hub.
pub(crate) struct Http {
    agent: Agent,
    endpoint: Uri,
    authorization: Option<HeaderValue>,
}

/// How far redirects are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// As long as they stay at the Hub; the answer may be a redirect to elsewhere.
    WithinHub,
    /// Wherever they lead.
    Anywhere,
}

impl Http {
    /// # Errors
    /// [`Error::Setting`] when the endpoint, the proxy or the token cannot be used.
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(proxy(options)?)
            .user_agent(concat!("afd/", env!("CARGO_PKG_VERSION")))
            // A compressed answer has another length than the file.
            .accept_encoding(AutoHeaderValue::None)
            .timeout_connect(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build();
        Ok(Self {
            agent: config.into(),
            endpoint: endpoint(options)?,
            authorization: authorization(options)?,
        })
    }

    /// Asks for `url`, from the byte `from` on.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no answer comes, [`Error::Protocol`] when redirects lead
    /// nowhere or out of https. An answer with a status that is an error is an answer.
    pub(crate) fn ask(
        &self,
        method: &Method,
        url: &str,
        from: u64,
        follow: Follow,
    ) -> Result<Response<Body>, Error> {
        let broken = |problem: &str| self.protocol(problem);
        let mut uri: Uri = url.parse().map_err(|_| broken("no address"))?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask_once(method, &uri, from)?;
            let next = match answer.headers().get(LOCATION) {
                Some(location) if answer.status().is_redirection() => location.to_str().ok(),
                _ => return Ok(answer),
            };
            let next = next.and_then(|location| join(&uri, location));
            let next = next.ok_or_else(|| broken("a redirect leads nowhere"))?;
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(broken("a redirect leaves https"));
            }
            if follow == Follow::WithinHub && !same_origin(&next, &self.endpoint) {
                return Ok(answer);
            }
            uri = next;
        }
        Err(broken("it redirects in circles"))
    }

    fn ask_once(&self, method: &Method, uri: &Uri, from: u64) -> Result<Response<Body>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(secret) = &self.authorization
            && same_origin(uri, &self.endpoint)
        {
            request = request.header(AUTHORIZATION, secret);
        }
        let request = request
            .body(())
            .map_err(|_| self.protocol("an address cannot be asked for"))?;
        self.agent.run(request).map_err(|source| {
            let host = uri.host().unwrap_or_default().to_owned();
            tracing::debug!(host, %method, "no answer");
            Error::Unreachable {
                host,
                source: Box::new(source),
            }
        })
    }

    /// The Hub does not answer as it should.
    pub(crate) fn protocol(&self, problem: &str) -> Error {
        Error::Protocol {
            host: self.endpoint.host().unwrap_or_default().to_owned(),
            problem: problem.to_owned(),
        }
    }

    /// Whether a token is sent.
    pub(crate) fn has_token(&self) -> bool {
        self.authorization.is_some()
    }
}

/// The address of the Hub, which holds no password: what fits is told to people.
pub(crate) fn endpoint(options: &Options) -> Result<Uri, Error> {
    let refuse = |problem| Error::Setting {
        variable: "HF_ENDPOINT",
        problem,
    };
    let shape = "must be an address such as https://huggingface.co";
    let uri: Uri = options.endpoint.parse().map_err(|_| refuse(shape))?;
    let authority = uri.authority().ok_or_else(|| refuse(shape))?;
    if authority.as_str().contains('@') {
        return Err(refuse(
            "must not hold a user or a password; a token goes into HF_TOKEN",
        ));
    }
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
        return Err(refuse(shape));
    }
    Ok(uri)
}

fn authorization(options: &Options) -> Result<Option<HeaderValue>, Error> {
    let Some(token) = &options.token else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.secret())).map_err(|_| {
        Error::Setting {
            variable: "HF_TOKEN (or the token's file)",
            problem: "holds letters that no token has; copy it again",
        }
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// ureq would ask the environment itself; here the caller has done so.
fn proxy(options: &Options) -> Result<Option<Proxy>, Error> {
    let Some(address) = &options.proxy else {
        return Ok(None);
    };
    let refuse = |_| Error::Setting {
        variable: "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY",
        problem: "must be an address such as http://host:port",
    };
    let plain = Proxy::new(address.trim()).map_err(refuse)?;
    let mut builder = Proxy::builder(plain.protocol())
        .host(plain.host())
        .port(plain.port());
    if let Some(user) = plain.username() {
        builder = builder.username(user);
    }
    if let Some(password) = plain.password() {
        builder = builder.password(password);
    }
    for host in options.no_proxy.split(',').map(str::trim) {
        if !host.is_empty() {
            builder = builder.no_proxy(host);
        }
    }
    builder.build().map(Some).map_err(refuse)
}

/// Where a redirect from `base` leads.
fn join(base: &Uri, location: &str) -> Option<Uri> {
    if location.starts_with('/') && !location.starts_with("//") {
        let mut parts = base.clone().into_parts();
        parts.path_and_query = Some(location.parse().ok()?);
        return Uri::from_parts(parts).ok();
    }
    let uri: Uri = location.parse().ok()?;
    (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()).then_some(uri)
}

/// Scheme, host and port, as browsers compare them.
fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| match uri.port_u16() {
        Some(port) => port,
        None if uri.scheme_str() == Some("http") => 80,
        None => 443,
    };
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    a.scheme() == b.scheme() && host(a) == host(b) && port(a) == port(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let hub = uri("https://huggingface.co/x");
        for same in ["https://HuggingFace.co:443/y", "https://huggingface.co"] {
            assert!(same_origin(&hub, &uri(same)), "{same}");
        }
        for other in [
            "http://huggingface.co",
            "https://huggingface.co:444",
            "https://cdn.huggingface.co",
            "https://huggingface.co.evil.example",
            "https://evil.example",
        ] {
            assert!(!same_origin(&hub, &uri(other)), "{other}");
        }
    }

    #[test]
    fn redirects_are_joined_to_where_they_come_from() {
        let base = uri("https://hub/a/b?x=1");
        let to = |location| join(&base, location).map(|uri| uri.to_string());
        assert_eq!(to("/c?y=2").unwrap(), "https://hub/c?y=2");
        assert_eq!(to("http://cdn:8/z").unwrap(), "http://cdn:8/z");
        for nowhere in [
            "",
            "c",
            "//evil/x",
            "file:///etc/passwd",
            "ftp://x/y",
            "\u{7f}",
        ] {
            assert_eq!(to(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn settings_that_cannot_be_used_are_named_and_not_shown() {
        let options = |endpoint: &str, proxy: Option<&str>, token: &str| Options {
            cache: "/c".into(),
            endpoint: endpoint.into(),
            token: crate::Token::new(token),
            offline: false,
            proxy: proxy.map(str::to_owned),
            no_proxy: String::new(),
        };
        let error = |options: &Options| match Http::new(options) {
            Ok(_) => panic!("{options:?}"),
            Err(error) => error.to_string(),
        };
        for endpoint in ["", "huggingface.co", "ftp://hub", "https://hub?secret"] {
            let message = error(&options(endpoint, None, ""));
            assert!(message.starts_with("HF_ENDPOINT must be"), "{message}");
        }
        for options in [
            options("https://me:secret@hub", None, ""),
            options("https://hub", Some("foo://me:secret@x"), ""),
            options("https://hub", None, "sec\u{1}ret-secret"),
        ] {
            let message = error(&options);
            assert!(!message.contains("secret"), "{message}");
        }
        assert!(Http::new(&options("https://hub", Some("http://p:1"), "t")).is_ok());
    }
}
