/** The suggestions for `/` and `@`, above the text field. */
import React from 'react';
import { ISuggestion } from '../../context/suggest';
import { useServices } from '../services';

/** The list's id and those of its items, for the text field's aria attributes. */
export const LIST_ID = 'jp-MistralSuggestions';
export const itemId = (index: number): string =>
  `jp-MistralSuggestion-${index}`;

export function SuggestionList(props: {
  suggestions: ISuggestion[];
  selected: number;
  onSelect: (index: number) => void;
  onChoose: (suggestion: ISuggestion) => void;
}): JSX.Element {
  const { trans } = useServices();
  return (
    <ul
      className="jp-MistralSuggestions"
      role="listbox"
      id={LIST_ID}
      aria-label={trans.__('Suggestions')}
    >
      {props.suggestions.map((suggestion, i) => (
        <li
          key={`${suggestion.kind}-${suggestion.label}-${suggestion.value}`}
          id={itemId(i)}
          role="option"
          aria-selected={i === props.selected}
          onMouseDown={event => {
            event.preventDefault();
            props.onChoose(suggestion);
          }}
          onMouseEnter={() => props.onSelect(i)}
        >
          <span>{suggestion.label}</span>
          <small dir="auto">{suggestion.detail}</small>
        </li>
      ))}
    </ul>
  );
}
