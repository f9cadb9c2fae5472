// Package judged prints what becomes of labels, as the tests read it.
package judged

import (
	"encoding/json"
	"fmt"
	"os"
)

// Print says which labels a node gets, and of the others why it does not get them: `refuses` knows.
func Print(labels map[string]string, refuses func(key, value string) error) {
	given, refused := map[string]string{}, map[string]string{}
	for key, value := range labels {
		if err := refuses(key, value); err != nil {
			refused[key] = err.Error()
		} else {
			given[key] = value
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"given": given, "refused": refused}); err != nil {
		Fail(err)
	}
}

// Fail ends the program.
func Fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
