// Answers by independent implementations of the formats that cairn writes.
//
//	oracle car FILE...    go-car reads each file and verifies every block; one line a file
package main

import (
	"fmt"
	"os"
)

func main() {
	commands := map[string]func([]string) error{"car": cars}
	if len(os.Args) < 3 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: oracle car FILE...")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
