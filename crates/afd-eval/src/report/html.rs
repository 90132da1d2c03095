//! The report as one HTML page that needs nothing else.

use super::{Block, Cell, Content, Dialogue, Table, Tone};

/// With texts of prompts and answers blurred until somebody asks for them, if that is wanted.
pub(super) fn render(title: &str, blocks: &[Block], is_blurred: bool) -> String {
    let mut body = format!("<h1>{}</h1>\n", escape(title));
    for block in blocks {
        body += &match block {
            Block::Heading(heading) => format!("<h2>{}</h2>\n", escape(heading)),
            Block::Lead(lead) => format!("<p class=\"lead\">{}</p>\n", prose(lead)),
            Block::Paragraph(paragraph) => format!("<p>{}</p>\n", prose(paragraph)),
            Block::List(items) => {
                let items: String = items
                    .iter()
                    .map(|item| format!("<li>{}</li>\n", prose(item)))
                    .collect();
                format!("<ul>\n{items}</ul>\n")
            }
            Block::Warning(warning) => format!(
                "<p class=\"warning\" role=\"note\"><b>Warning.</b> {}</p>\n",
                prose(warning)
            ),
            Block::Table(table) => table_html(table),
            Block::Figure { svg, caption } => format!(
                "<figure>\n<figcaption>{}</figcaption>\n<div class=\"plot\">{svg}</div>\n</figure>\n",
                prose(caption)
            ),
            Block::Browser(browser) => browser.html(),
            Block::Dialogue(dialogue) => dialogue_html(dialogue),
            Block::Code { title, text } => format!(
                "<details class=\"code\"><summary>{}</summary>\n<pre>{}</pre></details>\n",
                escape(title),
                escape(text)
            ),
        };
    }
    let class = if is_blurred { " class=\"blurred\"" } else { "" };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src '{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body{class}>\n<main>\n\
         <button id=\"theme\" type=\"button\" title=\"Light or dark\" aria-label=\"Light or dark\">◐</button>\n\
         <button id=\"blur\" type=\"button\">Blur texts</button>\n\
         {body}</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        escape(title)
    )
}

fn table_html(table: &Table) -> String {
    let header: String = table
        .header
        .iter()
        .map(|cell| format!("<th scope=\"col\">{}</th>", escape(cell)))
        .collect();
    let row = |cells: &Vec<Cell>| -> String {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let text = escape(&cell.text);
            if column == 0 {
                return format!("<th scope=\"row\">{text}</th>");
            }
            match cell.tone {
                Tone::Plain => format!("<td>{text}</td>"),
                Tone::Strong => format!("<td><b>{text}</b></td>"),
                Tone::Weak => format!("<td class=\"weak\"><i>{text}</i></td>"),
                Tone::Alarm => format!("<td class=\"alarm\"><b>{text}</b></td>"),
            }
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows: String = table.rows.iter().map(row).collect();
    let class = match table.content {
        Content::Numbers => "",
        Content::Words => " class=\"words\"",
    };
    format!(
        "<div class=\"wide\"><table{class}>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n<p class=\"note\">{}</p>\n",
        prose(&table.note)
    )
}

fn dialogue_html(dialogue: &Dialogue) -> String {
    let answers: String = dialogue
        .answers
        .iter()
        .map(|answer| {
            format!(
                "<div class=\"answer\"><div class=\"who\"><b>{}</b><span>golden {}</span></div>\
                 <div class=\"text\">{}</div></div>\n",
                escape(&answer.who),
                escape(&answer.golden),
                escape(&answer.text)
            )
        })
        .collect();
    format!(
        "<section class=\"dialogue\">\n<h3>{}</h3>\n<div class=\"text prompt\">{}</div>\n{answers}\
         </section>\n",
        escape(&dialogue.title),
        escape(&dialogue.prompt)
    )
}

/// Escaped, with text between backticks as code.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let part = |(index, part): (usize, &str)| {
        let part = escape(part);
        if index % 2 == 1 {
            format!("<code>{part}</code>")
        } else {
            part
        }
    };
    parts.map(part).collect()
}

/// Makes any text safe between tags and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Not allowed in HTML and SVG, whatever a model may have written.
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// All that runs in the page.
const SCRIPT: &str = include_str!("browser.js");

/// Its hash: nothing else runs, whatever a model may have written. When the script changes, its test
/// says the new one.
const SCRIPT_HASH: &str = "sha256-iD7UmHf0dCFPH17HA0fNoGZYSdkOFw6vu03vUGtNfkQ=";

/// The colours of lines are those of Okabe and Ito, lightened on dark ground.
const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::report::{Answer, browser::tests::hostile};

    #[test]
    fn the_script_is_the_one_that_the_page_allows() {
        let hash = STANDARD.encode(Sha256::digest(SCRIPT));
        assert_eq!(SCRIPT_HASH, format!("sha256-{hash}"));
        // Texts are put in as texts.
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
        ] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
    }

    #[test]
    fn foreign_text_is_escaped_everywhere() {
        let evil = "<script>alert(1)</script>&\"'\u{1b}[0m";
        let blocks = [
            Block::Heading(evil.to_owned()),
            Block::Lead(evil.to_owned()),
            Block::Paragraph(evil.to_owned()),
            Block::List(vec![evil.to_owned()]),
            Block::Warning(evil.to_owned()),
            Block::Figure {
                svg: String::new(),
                caption: evil.to_owned(),
            },
            Block::Table(Table {
                content: Content::Words,
                header: vec![evil.to_owned()],
                rows: vec![vec![
                    Cell {
                        text: evil.to_owned(),
                        tone: Tone::Plain,
                    },
                    Cell {
                        text: evil.to_owned(),
                        tone: Tone::Alarm,
                    },
                ]],
                note: evil.to_owned(),
            }),
            Block::Browser(hostile(evil)),
            Block::Code {
                title: evil.to_owned(),
                text: evil.to_owned(),
            },
            Block::Dialogue(Dialogue {
                title: evil.to_owned(),
                prompt: evil.to_owned(),
                answers: vec![Answer {
                    who: evil.to_owned(),
                    golden: evil.to_owned(),
                    text: evil.to_owned(),
                }],
            }),
        ];
        let page = render(evil, &blocks, true);
        // The page's own script, and the data of the browser, which are none.
        assert_eq!(page.matches("<script").count(), 2, "{page}");
        assert!(
            !page.contains("<script>alert") && !page.contains('\u{1b}'),
            "{page}"
        );
        let safe = "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;\u{fffd}[0m";
        assert_eq!(page.matches(safe).count(), 19, "{page}");
    }

    #[test]
    fn the_page_fetches_nothing() {
        let page = render("T", &[Block::Paragraph("`a<b` c".to_owned())], false);
        assert!(page.contains("<p><code>a&lt;b</code> c</p>"));
        for outside in [
            "http://", "https://", "url(", " src=", "@import", "<link", "fetch(", "XMLHttp",
        ] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
