//! The report as Markdown.

use super::{Block, Cell, Content, Dialogue, Table, Tone};

pub(super) fn render(title: &str, blocks: &[Block]) -> String {
    let mut text = format!("# {title}\n");
    for block in blocks {
        text.push('\n');
        match block {
            Block::Heading(heading) => text += &format!("## {heading}\n"),
            Block::Lead(paragraph) | Block::Paragraph(paragraph) => {
                text += &format!("{}\n", escape(paragraph));
            }
            Block::List(items) => {
                for item in items {
                    text += &format!("- {}\n", escape(item));
                }
            }
            Block::Warning(warning) => text += &format!("> **Warning:** {}\n", escape(warning)),
            Block::Table(table) => text += &table_text(table),
            Block::Figure { caption, .. } => {
                text += &format!("_Plot in report.html: {}_\n", escape(caption));
            }
            Block::Browser(browser) => {
                text += &format!("_In report.html: {}_\n", escape(&browser.caption()));
            }
            Block::Dialogue(dialogue) => text += &dialogue_text(dialogue),
            Block::Code { title, text: code } => {
                text += &format!("{}:\n\n{}", escape(title), fenced(code));
            }
        }
    }
    text
}

fn table_text(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(table.header.iter().map(|cell| escape(cell)).collect());
    let side = |column| match table.content {
        Content::Numbers if column > 0 => "---:".to_owned(),
        Content::Numbers | Content::Words => ":---".to_owned(),
    };
    text += &line((0..table.header.len()).map(side).collect());
    for row in &table.rows {
        text += &line(row.iter().map(cell_text).collect());
    }
    text + &format!("\n{}\n", escape(&table.note))
}

fn cell_text(cell: &Cell) -> String {
    // A cell is no prose: nothing in it is code or a link.
    let text = escape(&cell.text).replace('`', "\\`").replace("](", "]\\(");
    match cell.tone {
        Tone::Plain => text,
        Tone::Strong | Tone::Alarm => format!("**{text}**"),
        Tone::Weak => format!("_{text}_"),
    }
}

fn dialogue_text(dialogue: &Dialogue) -> String {
    let mut text = format!(
        "### {}\n\n{}",
        escape(&dialogue.title),
        fenced(&dialogue.prompt)
    );
    for answer in &dialogue.answers {
        let who = escape(&answer.who);
        text += &format!(
            "\n{who} (golden {})\n\n{}",
            answer.golden,
            fenced(&answer.text)
        );
    }
    text
}

/// Foreign text, shown as it is: the fence is longer than any in it.
fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{text}\n{fence}\n")
}

/// Takes from characters the meaning that Markdown gives them within a line; `code` stays code.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '*' | '_' | '<' | '&' | '|' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\n' | '\r' => escaped.push(' '),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Answer;

    #[test]
    fn foreign_text_cannot_leave_its_fence() {
        let dialogue = Dialogue {
            title: "One".to_owned(),
            prompt: "Human: ````\n# no heading".to_owned(),
            answers: vec![Answer {
                who: "a_b".to_owned(),
                golden: "1.0".to_owned(),
                text: "<b>".to_owned(),
            }],
        };
        assert_eq!(
            render("T", &[Block::Dialogue(dialogue)]),
            "# T\n\n### One\n\n`````text\nHuman: ````\n# no heading\n`````\n\n\
             a\\_b (golden 1.0)\n\n```text\n<b>\n```\n"
        );
    }

    #[test]
    fn tables_mark_and_escape_their_cells() {
        let cell = |text: &str, tone| Cell {
            text: text.to_owned(),
            tone,
        };
        let table = Table {
            content: Content::Numbers,
            header: vec!["a|b".to_owned(), "n".to_owned()],
            rows: vec![vec![
                cell("`x` [y](z) &lt;", Tone::Plain),
                cell("1", Tone::Strong),
            ]],
            note: "`note`".to_owned(),
        };
        let row = "| \\`x\\` [y]\\(z) \\&lt; | **1** |";
        assert_eq!(
            table_text(&table),
            format!("| a\\|b | n |\n| :--- | ---: |\n{row}\n\n`note`\n")
        );
        let table = Table {
            content: Content::Words,
            ..table
        };
        assert!(table_text(&table).contains("\n| :--- | :--- |\n"));
    }
}
