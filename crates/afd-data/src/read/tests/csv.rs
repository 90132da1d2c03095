//! Tests of the CSV reader.

use super::*;

#[test]
fn csv_columns_are_found_by_name_default_or_option() {
    let files = Files::new();
    let text = "id,query,response\n1,\"Do: a, b\nor c?\",\"say \"\"a\"\"\"\n2,Do: d?, e\n";
    let path = files.write("rows.csv", text);
    let options = ReadOptions {
        strip_prefix: Some(StripPrefix::Literal("Do: ".to_owned())),
        ..ReadOptions::default()
    };
    let rows: Vec<Example> = read(&path, &options)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows[0].prompt, "\n\nHuman: a, b\nor c?\n\nAssistant:");
    assert_eq!(rows[0].completion.as_deref(), Some(" say \"a\""));
    assert_eq!(rows[0].source, "rows.csv:2");
    assert_eq!(rows[1].source, "rows.csv:4");

    let options = ReadOptions {
        prompt_column: Some("id".to_owned()),
        strip_prefix: Some(StripPrefix::Characters(1)),
        ..ReadOptions::default()
    };
    assert_eq!(
        reason(read(&path, &options).remove(0)),
        DropReason::EmptyPrompt
    );
    let options = ReadOptions {
        strip_prefix: Some(StripPrefix::Characters(9)),
        ..options
    };
    assert_eq!(
        reason(read(&path, &options).remove(0)),
        DropReason::PrefixMissing
    );
}

#[test]
fn csv_lines_are_right_with_any_line_break_and_in_tsv() {
    let files = Files::new();
    for name in ["rows.tsv", "rows.tsv.gz"] {
        let text = b"\xef\xbb\xbf\r\nprompt\tcompletion\r\na\tb\r\n\r\nc\td\r\ne\t\r\n";
        let bytes = if name.ends_with("gz") {
            gzip(text)
        } else {
            text.to_vec()
        };
        let mut rows = read(&files.write(name, bytes), &ReadOptions::default());
        let Err(RowError::Dropped(last)) = rows.pop().unwrap() else {
            panic!()
        };
        assert_eq!(last.source, format!("{name}:6"));
        let sources: Vec<_> = rows.into_iter().map(|row| row.unwrap().source).collect();
        assert_eq!(sources, [format!("{name}:3"), format!("{name}:5")]);
    }
}

#[test]
fn a_bad_csv_is_refused_with_the_remedy() {
    let files = Files::new();
    let path = files.write("rows.csv", "question,answer\na,b\n");
    let message = open(&path, &ReadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("no column `prompt` or `query`"),
        "{message}"
    );
    assert!(message.contains("`question`, `answer`: name the right one with `prompt_column`"));

    let path = files.write("rows.csv", "prompt,completion\na,b\nc\n");
    let message = broken(read(&path, &ReadOptions::default()).remove(1)).to_string();
    assert!(
        message.contains("rows.csv:3: the row has 1 fields, the header 2"),
        "{message}"
    );

    let path = files.write("rows.csv", b"prompt,completion\na,b\nc,d\xff\n");
    let error = broken(read(&path, &ReadOptions::default()).remove(1));
    assert!(
        matches!(
            error,
            Error::NotUtf8 {
                line: 3,
                column: 1,
                ..
            }
        ),
        "{error}"
    );

    let bytes = gzip("prompt,completion\na,b\n".repeat(500).as_bytes());
    let path = files.write("rows.csv.gz", &bytes[..bytes.len() - 5]);
    let error = match open(&path, &ReadOptions::default()) {
        Ok(rows) => broken(rows.last().unwrap()),
        Err(error) => error,
    };
    assert!(matches!(error, Error::BrokenGzip { .. }), "{error}");
}
