"""What a report measures: data frames of planned runs, results, choices and estimates."""
